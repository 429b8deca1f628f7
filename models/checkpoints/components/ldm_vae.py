"""The autoencoder of a latent diffusion model under its original names, as diffusers' AutoencoderKL: names and sizes.

    encoder.down.0.block.0.conv1.weight    ->  encoder.down_blocks.0.resnets.0.conv1.weight
    decoder.up.0.block.0.conv1.weight      ->  decoder.up_blocks.3.resnets.0.conv1.weight       (counted from the image)
    decoder.mid.attn_1.q.weight            ->  decoder.mid_block.attentions.0.to_q.weight

What was trained beside it (the discriminator under `loss.`, a diffusion model, its averages) is left aside. diffusers'
own conversion needs a config, and knows no attention between the blocks. Knows no file and no tensor's numbers.

Reference: "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752) and its published code,
ldm/modules/diffusionmodules/model.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dit_serve.models.checkpoints.tensor_files import StoredTensor
from dit_serve.models.errors import CheckpointError, listed

Found = Mapping[str, StoredTensor]

SCALING_FACTORS = {4: 0.18215}  # by latent channels, where no config says it: appendix D.1 of the paper
_GROUPS = 32  # of every norm in the published code
_MOST_LAYERS = 16
_LEVELS = ("encoder.down", "decoder.up")
_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_PREFIXES = ("", "first_stage_model.", "vae.", "model.", "module.", "autoencoder.", "first_stage_model.module.")
_ATTENTION = {"norm.": "group_norm.", "q.": "to_q.", "k.": "to_k.", "v.": "to_v.", "proj_out.": "to_out.0."}
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_LEVEL = re.compile(r"(encoder\.down|decoder\.up)\.(\d)\.(block|attn|downsample|upsample)\.(.+)")  # below 10 levels
_MIDDLE = re.compile(r"(encoder|decoder)\.mid\.(block|attn)_(\d)\.(.+)")


def autoencoder_tensors(found: Found, where: object) -> dict[str, StoredTensor]:
    """Return the tensors of the autoencoder among those stored, by their names without what is in front of them.

    Raises:
        CheckpointError: there is no autoencoder of this kind among them.
    """
    for prefix in _PREFIXES:
        if f"{prefix}decoder.conv_in.weight" in found and f"{prefix}encoder.conv_in.weight" in found:
            if any(name.startswith(f"{prefix}quantize.") for name in found):
                raise CheckpointError(f"{where}: a VQModel, with a codebook, and not an AutoencoderKL: choose another")
            names = [name for name in found if name.startswith(prefix) and name[len(prefix) :].startswith(_PARTS)]
            return {name[len(prefix) :]: found[name] for name in names}
    raise CheckpointError(
        f"{where}: not the weights of an AutoencoderKL; its {len(found)} tensors are named "
        f"{listed(sorted(found), 80) or 'in no way'}: choose another autoencoder"
    )


def has_original_names(found: Found) -> bool:
    """Whether an autoencoder's tensors are named as in the original code, and not as in diffusers."""
    return any(name.startswith(("encoder.down.", "decoder.up.", "decoder.mid.")) for name in found)


def with_current_names(found: Found, where: object) -> dict[str, StoredTensor]:
    """Return an autoencoder's tensors by the names that diffusers gives them today, whichever they have.

    Raises:
        CheckpointError: a tensor is there under two names.
    """
    levels = _levels(found, "decoder.up")
    named: dict[str, StoredTensor] = {}
    for name, stored in found.items():
        current = _without_old_attention(_current(name, levels))
        if current in named:
            raise CheckpointError(f"{where}: {current} is there twice, under two names: choose another autoencoder")
        named[current] = stored
    return named


def inferred_config(found: Found, where: object) -> dict[str, Any]:
    """Return the arguments of AutoencoderKL that tensors with original names show; the scaling is not among them.

    Raises:
        CheckpointError: tensors are missing that would tell.
    """
    levels = range(_levels(found, "encoder.down"))
    firsts = [f"encoder.down.{level}.block.0.conv1.weight" for level in levels]
    needed = ["encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.conv_out.weight", *firsts]
    shapes = {name: found[name].shape for name in needed if name in found}
    if wrong := [name for name in needed if len(shapes.get(name, ())) != 4]:
        raise CheckpointError(f"{where}: no whole autoencoder; missing or misshapen: {listed(wrong)}: choose another")
    has_attention = {part: [f"{part}.{i}.attn.0.q.weight" in found for i in levels] for part in _LEVELS}
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[name][0] for name in firsts],
        "layers_per_block": sum(f"encoder.down.0.block.{i}.conv1.weight" in found for i in range(_MOST_LAYERS)),
        "down_block_types": ["Attn" * has + "DownEncoderBlock2D" for has in has_attention["encoder.down"]],
        "up_block_types": ["Attn" * has + "UpDecoderBlock2D" for has in reversed(has_attention["decoder.up"])],
        "mid_block_add_attention": "decoder.mid.attn_1.q.weight" in found,
        "use_quant_conv": "quant_conv.weight" in found,
        "use_post_quant_conv": "post_quant_conv.weight" in found,
        "norm_num_groups": _GROUPS,
    }


def _levels(found: Found, part: str) -> int:
    return 1 + max((int(match[2]) for name in found if (match := _LEVEL.match(name)) and match[1] == part), default=0)


def _current(name: str, levels: int) -> str:
    """diffusers' name of a tensor, given the number of the decoder's levels; a name that is none here stays."""
    if match := _LEVEL.fullmatch(name):
        part, level, kind, rest = match[1], int(match[2]), match[3], match[4]
        blocks = "encoder.down_blocks" if part == "encoder.down" else "decoder.up_blocks"
        i = level if part == "encoder.down" else levels - 1 - level
        if kind.endswith("sample"):
            return f"{blocks}.{i}.{kind}rs.0.{rest}"
        number, _, rest = rest.partition(".")
        return f"{blocks}.{i}.{_inner(kind, number, rest)}"
    if match := _MIDDLE.fullmatch(name):
        return f"{match[1]}.mid_block.{_inner(match[2], str(int(match[3]) - 1), match[4])}"
    return name.replace(".norm_out.", ".conv_norm_out.")


def _without_old_attention(name: str) -> str:
    """The name of a tensor today, given one of before diffusers 0.17 where attention had names of its own."""
    for old, new in _OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def _inner(kind: str, number: str, rest: str) -> str:
    if kind == "block":
        return f"resnets.{number}.{rest.replace('nin_shortcut', 'conv_shortcut')}"
    for old, new in _ATTENTION.items():
        if rest.startswith(old):
            rest = new + rest.removeprefix(old)
            break
    return f"attentions.{number}.{rest}"

"""Names what stored tensors are when they are no plain DiT: its relatives, and whatever else people give for a model.

The names of tensors tell, and now and then a shape. A relative is never sampled as if it were a plain DiT: the
sentence says what it is and which tensors say so. No name and no shape of a plain DiT is listed here, so a plain DiT
is never taken for a relative. Knows no file and no configuration.

References: the tensors' names in the published code of LightningDiT, REPA, GFT, MDT, MaskDiT, DiT-MoE, FiT, DiG, U-ViT,
Latte, PixArt, HunyuanDiT, Stable Diffusion 3, FLUX and EDM2; diffusers' names of the same; the four kinds of blocks in
"Scalable Diffusion Models with Transformers" (arXiv 2212.09748), section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from dit_serve.models.errors import printable

_PLAIN = "only a plain DiT (classes, adaLN-Zero) is served"
_OTHER_BLOCKS = "of other blocks than adaLN-Zero only those in `dit train`'s own names are served"
_SHOWN = 3  # names of tensors in a sentence
_SHOWN_LENGTH = 40
_BLOCK_NUMBER = re.compile(r"\d+")
_TABLE = "y_embedder.embedding_table.weight"
_BLOCKS = re.compile(r"blocks\.\d+\.")

# What it is, the names that tell, what to do. The first that fits is said, so what holds others' parts comes first.
_OTHERS: Sequence[tuple[str, str, str]] = (
    (
        "LoRA weights, which change a model and are none",
        r"(?:^|[._])lora(?:[._]|$)|\.lora_[A-Za-z]+\b|\.hada_w\d|\.lokr_w\d",
        "merge them into the model's weights, and give those",
    ),
    (
        "an optimizer's state and no model",
        r"(?:^|\.)(?:exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer)(?:\.|$)",
        "give the file of the model's weights",
    ),
    ("a ControlNet", r"(?:^|\.)(?:controlnet_\w+|control_model|copied_block|zero_convs)\.", _PLAIN),
    ("a FLUX, conditioned on text", r"(?:^|\.)(?:double_blocks|single_blocks|single_transformer_blocks)\.", _PLAIN),
    (
        "an MMDiT (Stable Diffusion 3), conditioned on text",
        r"(?:^|\.)(?:joint_blocks|context_embedder)\.|\.norm1_context\.|\.attn\.add_[qkv]_proj\.",
        _PLAIN,
    ),
    (
        "a HunyuanDiT, conditioned on text",
        r"(?:^|\.)(?:mlp_t5|text_embedding_padding|extra_embedder|time_extra_emb)(?:\.|$)|\.default_modulation\.",
        _PLAIN,
    ),
    (
        "a PixArt, conditioned on text",
        r"(?:^|\.)(?:y_embedder\.(?:y_proj|y_embedding)|t_block|caption_projection|adaln_single)(?:\.|$)"
        r"|(?:^|\.)scale_shift_table$",
        _PLAIN,
    ),
    (
        "a Lumina or Large-DiT",
        r"(?:^|\.)(?:cap_embedder|adaLN_modulation_context)\.|(?:^|\.)layers\.\d+\.attention\.w[qkvo]\.",
        _PLAIN,
    ),
    ("a Latte, which makes video", r"(?:^|\.)temp_embed$|(?:^|\.)temporal_(?:transformer_)?blocks\.", _PLAIN),
    ("a MaskDiT, trained on masked images", r"(?:^|\.)(?:decoder_blocks|decoder_layer)\.", _PLAIN),
    (
        "an MDT, a masked diffusion transformer",
        r"(?:^|\.)(?:mask_token|decoder_pos_embed)$|(?:^|\.)(?:sideblocks|en_inblocks|en_outblocks|de_blocks)\."
        r"|\.rel_pos_bias\.",
        _PLAIN,
    ),
    (
        "a DiT-MoE, whose MLPs are mixtures of experts",
        r"\.(?:experts|shared_experts|shared_expert)\.|\.(?:mlp|moe|ffn)\.(?:gate|router)\.",
        _PLAIN,
    ),
    (
        "a DiT of guidance-free training (GFT), whose guidance is an input of its own",
        r"(?:^|\.)(?:beta_embedder|temperature_embedder|t_embedder\.cond_proj)\.",
        _PLAIN,
    ),
    ("a FiT, of free image sizes", r"(?:^|\.)global_adaLN_modulation\.|\.mlp\.fc1_[gx]\.", _PLAIN),
    ("a DiG, with gated linear attention", r"\.gk_proj\.|\.g_norm\w*\.|\.gla\.|\.dw_conv\.", _PLAIN),
    ("a DiffiT, with time-dependent attention", r"\.tmsa\.|\.(?:qkv_t|qkv_time|time_qkv)\.", _PLAIN),
    ("an EDM2, a U-Net", r"(?:^|\.)(?:emb_fourier|emb_gain|out_gain|logvar_fourier|conv_res0)(?:\.|$)", _PLAIN),
    (
        "a U-ViT, whose conditions are tokens",
        r"(?:^|\.)(?:in_blocks|out_blocks)\.\d+\.|(?:^|\.)mid_block\.(?:attn|mlp|norm1)\.|(?:^|\.)decoder_pred\.",
        _PLAIN,
    ),
    (
        "a U-Net",
        r"(?:^|\.)(?:input_blocks|output_blocks)\.\d+\.|(?:^|\.)middle_block\.\d"
        r"|^(?:(?:module|model|unet|ema)\.)*(?:down_blocks|up_blocks)\.\d",
        _PLAIN,
    ),
    (
        "an autoencoder",
        r"(?:^|\.)(?:encoder|decoder)\.(?:conv_in|conv_out|mid|mid_block|up|down|up_blocks|down_blocks|norm_out)\."
        r"|(?:^|\.)(?:post_)?quant_conv\.",
        "give it as --vae, and a DiT as the model",
    ),
    (
        "a CLIP",
        r"(?:^|\.)(?:text_model|vision_model)\.|(?:^|\.)visual\.|(?:^|\.)logit_scale$|(?:^|\.)resblocks\.\d",
        _PLAIN,
    ),
    ("a text encoder (T5)", r"(?:^|\.)(?:encoder|decoder)\.block\.\d+\.layer\.", _PLAIN),
    ("a vision transformer, which recognises images", r"(?:^|\.)cls_token$", _PLAIN),
)

# What a DiT may have beside the plain one's parts; all that fit are said. LightningDiT has the first four.
_FEATURES: Sequence[tuple[str, str]] = (
    ("SwiGLU", r"\.(?:mlp|ffn|feed_forward)\.(?:w12|w1|w2|w3|gate_proj|up_proj|down_proj)\."),
    ("RMSNorm or weighted norms", r"blocks\.\d+\.norm\d?\.(?:weight|bias|scale)$|\.norm_final\.(?:weight|bias)$"),
    ("query-key norm", r"\.(?:q_norm|k_norm|norm_q|norm_k|ln_q|ln_k|query_norm|key_norm|qk_norm)\."),
    ("RoPE", r"(?:^|[._])(?:rope|rotary\w*|freqs_cos|freqs_sin|freqs_cis|inv_freq)(?:[._]|$)"),
    ("cross-attention", r"blocks\.\d+\.(?:cross_attn|cross_attention|attn2|cross)\."),
    ("skip connections", r"\.skip_linear\."),
    ("tokens beside the image's", r"(?:^|\.)(?:register_tokens|registers?|in_context_\w+|class_tokens?)$"),
)


class Shaped(Protocol):
    """What has a shape: a stored tensor, or a torch.Tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """The sizes of its axes."""


def relative(found: Mapping[str, Shaped]) -> str | None:
    """Return what tensors are that are no plain DiT's, how they tell and what to do; None where they may be one."""
    for what, pattern, advice in _OTHERS:
        if told := _matching(pattern, found):
            return _sentence(what, told, advice)
    return _with_features(found) or _other_block(found)


def few(names: Iterable[str], count: int = _SHOWN, length: int = _SHOWN_LENGTH) -> str:
    """Return at most `count` of the names, the last `length` characters; of those that differ in numbers alone one.

    "…" stands for the others, and for what is cut.
    """
    listed = [printable(name if len(name) <= length else f"…{name[1 - length :]}") for name in names]
    kinds = {_BLOCK_NUMBER.sub("N", name): name for name in reversed(listed)}
    shown = [kinds[kind] for kind in list(kinds)[::-1]][:count]
    return ", ".join([*shown, "…"] if len(listed) > len(shown) else shown)


def _with_features(found: Mapping[str, Shaped]) -> str | None:
    """A DiT that is plain but for some parts."""
    fitting = {what: told[0] for what, pattern in _FEATURES if (told := _matching(pattern, found))}
    if not fitting:
        return None
    *first, last = fitting
    listed = f"{', '.join(first)} and {last}" if first else last
    kin = " (as LightningDiT has)" if len(fitting) > 1 and "SwiGLU" in fitting else ""
    return _sentence(f"a DiT with {listed}{kin}", list(fitting.values()), _PLAIN)


def _other_block(found: Mapping[str, Shaped]) -> str | None:
    """A DiT whose blocks take their conditions in another way than by adaLN-Zero, or that has no classes."""
    of_blocks = sorted(name for name in found if _BLOCKS.match(name))
    if not of_blocks or not any(name.startswith("x_embedder.") for name in found):
        return None
    modulating = [name for name in of_blocks if ".adaLN_modulation." in name]
    if not modulating:
        what = "a DiT with in-context conditioning, or one modulation for all blocks"
        return f"{what}: its blocks have no adaLN_modulation ({few(of_blocks, 1)}): {_OTHER_BLOCKS}"
    for name in modulating:
        rows, *columns = found[name].shape or (0,)
        if columns and rows == 4 * columns[0]:
            what = f"a DiT with adaLN without gates, not adaLN-Zero: {name} has {rows} rows, not 6 times {columns[0]}"
            return f"{what}: {_OTHER_BLOCKS}"
    patches = found.get("x_embedder.proj.weight")
    if patches is not None and len(patches.shape) == 2:
        return _sentence("a transformer that takes patches, not latents (FiT)", ["x_embedder.proj.weight"], _PLAIN)
    if not any(name.startswith("y_embedder.") for name in found):
        return f"a DiT without classes, or a part of one: it has no {_TABLE}: {_PLAIN}"
    return None


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    compiled = re.compile(pattern)
    return sorted(name for name in names if compiled.search(name))


def _sentence(what: str, told: Sequence[str], advice: str) -> str:
    return f"{what}, told by {few(told)}: {advice}"

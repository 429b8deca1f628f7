"""models/checkpoints/wrappers.py: whatever trainers wrap around a DiT, it is found and the rest is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dit_serve.models.checkpoints.tensor_files import StoredTensor
from dit_serve.models.checkpoints.wrappers import read_facts, read_selected, select, select_autoencoder, told
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import TINY, original_state

NAMES = tuple(original_state(TINY))
DIFFUSERS = ("pos_embed.proj.weight", "transformer_blocks.0.attn1.to_q.weight", "proj_out_1.bias")
FILE = Path("x.pt")


def stored(*groups: str | tuple[str, tuple[str, ...]], beside: tuple[str, ...] = ()) -> dict[str, StoredTensor]:
    """A DiT's tensors under each of these prefixes, and others beside."""
    pairs = [(group, NAMES) if isinstance(group, str) else group for group in groups]
    names = [f"{prefix}{name}" for prefix, names in pairs for name in names]
    return {name: StoredTensor(FILE, name, (1,), "F32") for name in (*names, *beside)}


@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "state_dict.model.", "net.",
        "state_dict.net._orig_mod.", "model_state_dict.", "params.", "_forward_module.module.", "a.b.c.d.",
        "_fsdp_wrapped_module.", "state_dict.dit.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [NAMES, DIFFUSERS])
def test_what_all_names_share_is_stripped(prefix: str, names: tuple[str, ...]) -> None:
    selected = select(stored((prefix, names)), None, FILE)
    assert {name: tensor.name for name, tensor in selected.found.items()} == {name: f"{prefix}{name}" for name in names}
    assert (selected.which, selected.prefix, selected.left_out) == ("", prefix, ())


def test_clean_names_are_returned_as_they_are_whatever_else_is_there() -> None:
    found = stored("", beside=("blocks.0.norm1.weight", "feat_rope.freqs_cos", "mask_token"))
    assert select(found, None, FILE).found == found
    nothing = {"conv.weight": StoredTensor(FILE, "conv.weight", (1,), "F32")}
    assert select(nothing, None, FILE).found == nothing


def test_a_part_of_a_framework_anywhere_in_a_name_is_dropped() -> None:
    names = tuple(name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module._orig_mod.") for name in NAMES)
    assert set(select(stored(("module.", names)), None, FILE).found) == set(NAMES)


@pytest.mark.parametrize(
    ("ema", "model", "beside"),
    [
        ("ema.", "model.", ("opt.state.0.exp_avg",)),
        ("ema._orig_mod.", "model._orig_mod.", ()),
        ("state_dict.ema.", "state_dict.model.", ("state_dict.loss_fn.weight",)),
        ("state_dict.ema_model.", "state_dict.net.", ()),
        ("model_ema.", "model.", ()),
        ("ema_state_dict.", "state_dict.", ()),
        ("params_ema.", "params.", ()),
        ("ema.shadow.", "model.", ()),
        ("ema.ema_model.", "ema.online_model.", ("ema.step",)),
        ("swa_model.module.", "model.", ("swa_model.n_averaged",)),
        ("average.module.", "model.", ("average.n_averaged",)),
    ],
)
def test_of_a_model_and_its_average_the_one_that_is_wanted_is_taken(
    ema: str, model: str, beside: tuple[str, ...]
) -> None:
    found = stored(ema, model, beside=beside)
    for wanted, which, prefix in ((None, "ema", ema), ("ema", "ema", ema), ("model", "model", model)):
        selected = select(found, wanted, FILE)
        assert (selected.which, selected.prefix) == (which, prefix)
        assert {tensor.name for tensor in selected.found.values()} == {f"{prefix}{name}" for name in NAMES}


def test_an_averaged_model_is_an_average_by_the_number_beside_it() -> None:
    selected = select(stored("module.", beside=("n_averaged",)), None, FILE)
    assert (selected.which, selected.prefix, selected.left_out) == ("ema", "module.", ("n_averaged (1 tensor)",))


def test_the_words_of_an_average_are_words() -> None:
    assert select(stored("schema.cinema."), None, FILE).which == ""
    assert select(stored("ema1."), None, FILE).which == "ema"


def test_the_model_inside_a_trainer_is_taken_where_the_average_keeps_one_too() -> None:
    found = stored("ema.ema_model.", "ema.online_model.", "model.")
    assert select(found, "model", FILE).prefix == "model."


@pytest.mark.parametrize(
    ("groups", "wanted", "words"),
    [
        (("",), "ema", "x.pt: holds no EMA weights .*: leave out `--weights ema`"),
        (("model.",), "ema", "x.pt: holds no EMA weights"),
        (("ema.",), "model", "x.pt: holds no model's own weights, only an average"),
        (("student.", "teacher."), None, "holds 2 models that cannot be told apart, under 'student.', 'teacher.'"),
        (("ema_0999.", "ema_09999."), None, "holds 2 models that cannot be told apart"),
        (("", "_orig_mod."), None, "holds .* twice, compiled or wrapped and as it is"),
    ],
)
def test_what_is_not_there_or_cannot_be_told_apart_is_refused(
    groups: tuple[str, ...], wanted: str | None, words: str
) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        select(stored(*groups), wanted, FILE)
    assert len(str(caught.value)) < 300


def test_what_stands_beside_is_told_by_group() -> None:
    found = stored("module.", beside=("optimizer.0.exp_avg", "optimizer.0.step", "lr\x1b[2J.x"))
    selected = select(found, None, FILE)
    assert selected.left_out == (r"lr\x1b[2J (1 tensor)", "optimizer (2 tensors)")
    assert told(selected) == (
        "took the model's 42 tensors, stripped 'module.' from their names, "
        r"left out lr\x1b[2J (1 tensor), optimizer (2 tensors)"
    )
    assert told(select(stored(""), None, FILE)) == ""


def test_an_average_of_names_without_dots_is_put_together_with_what_is_not_trained() -> None:
    squeezed = tuple(f"diffusion_model{name.replace('.', '')}" for name in NAMES if name != "pos_embed")
    found = stored("state_dict.model.diffusion_model.", ("state_dict.model_ema.", squeezed))
    selected = select(found, None, FILE)
    assert (selected.which, selected.prefix, set(selected.found)) == ("ema", "state_dict.model_ema.", set(NAMES))
    assert selected.found["final_layer.linear.bias"].name == "state_dict.model_ema.diffusion_modelfinal_layerlinearbias"
    assert select(found, "model", FILE).prefix == "state_dict.model.diffusion_model."
    del found["state_dict.model_ema.diffusion_modelfinal_layerlinearbias"]
    assert select(found, None, FILE).which == ""


def test_an_optimizer_that_knows_the_names_is_no_model() -> None:
    found = stored("module.", ("optimizer.state.", tuple(f"{name}.exp_avg" for name in NAMES)))
    selected = select(found, None, FILE)
    assert (selected.prefix, selected.left_out) == ("module.", ("optimizer (42 tensors)",))


def test_an_autoencoder_is_found_among_other_networks() -> None:
    own = ("encoder.conv_in.weight", "decoder.conv_out.bias", "quant_conv.weight")
    found = stored("model.", ("state_dict.first_stage_model.", (*own, "loss.logvar")))
    selected = select_autoencoder(found, FILE)
    assert (sorted(selected.found), selected.prefix) == (sorted(own), "state_dict.first_stage_model.")


def test_safetensors_of_a_trainer_are_read_by_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"{prefix}{name}": torch.zeros(1) for prefix in ("ema.", "model.") for name in NAMES}, path)
    selected = read_selected([path], None, path)
    assert (selected.which, set(selected.found)) == ("ema", set(NAMES))
    assert read_selected([path], "model", path).prefix == "model."


def test_a_header_is_believed_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    assert (read_facts(path).args, read_facts(path).source_sha256, read_facts(path).which) == ({}, None, "")
    metadata = {"args": '{"a": 1, "b": [2]}', "source_sha256": "../x", "weights": "best", "num_heads": "4"}
    save_file({"x": torch.zeros(1)}, path, metadata)
    facts = read_facts(path)
    assert (facts.args, facts.source_sha256, facts.which) == ({"a": 1, "num_heads": 4}, None, "")
    save_file({"x": torch.zeros(1)}, path, {"args": "[" * 10_000, "num_heads": "4; x"})
    assert read_facts(path).args == {}
    save_file({"x": torch.zeros(1)}, path, {"weights": "ema"})
    with pytest.raises(CheckpointError, match="holds ema weights alone: leave out `--weights model`"):
        read_selected([path], "model", path)

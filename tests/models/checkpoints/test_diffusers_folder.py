"""models/checkpoints/diffusers_folder.py."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.checkpoints.diffusers_folder import (
    find_weights,
    read_index,
    read_labels,
    read_schedule,
    read_transformer_config,
    refuse_code,
)
from dit_serve.models.dit import DiTConfig
from dit_serve.models.errors import CheckpointError
from dit_serve.models.sampling.schedule import Schedule

INDEX = {
    "_class_name": "DiTPipeline",
    "_diffusers_version": "0.42.1",
    "transformer": ["diffusers", "DiTTransformer2DModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "vae": ["diffusers", "AutoencoderKL"],
}
TRANSFORMER = {"_class_name": "DiTTransformer2DModel", "out_channels": 8}
# facebook/DiT-XL-2-512's transformer/config.json, as it is known from diffusers' documentation of its fields
PUBLISHED = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.12.0.dev0",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "cross_attention_dim": None,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "norm_num_groups": 32,
    "norm_type": "ada_norm_zero",
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 64,
    "upcast_attention": False,
    "use_linear_projection": False,
}


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_the_published_config_is_dit_xl_2(tmp_path: Path) -> None:
    found = read_transformer_config(write(tmp_path / "config.json", PUBLISHED))
    assert found == DiTConfig(input_size=64, frequency_shift=1.0, mlp_norm_eps=1e-5)


def test_what_a_config_leaves_out_is_as_diffusers_assumes_it(tmp_path: Path) -> None:
    found = read_transformer_config(write(tmp_path / "config.json", TRANSFORMER))
    assert found == DiTConfig(frequency_shift=1.0, mlp_norm_eps=1e-5)


def test_out_channels_decide_whether_sigma_is_learned(tmp_path: Path) -> None:
    for given_channels, learns in ((None, False), (4, False), (8, True)):
        config = write(tmp_path / "config.json", TRANSFORMER | {"out_channels": given_channels})
        assert read_transformer_config(config).learn_sigma is learns
    with pytest.raises(CheckpointError, match="out_channels 5 is neither in_channels 4 nor twice that"):
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | {"out_channels": 5}))


def test_every_setting_that_cannot_be_honoured_is_named(tmp_path: Path) -> None:
    wrong = {"norm_type": "layer_norm", "activation_fn": "geglu", "attention_bias": False, "mystery": 1, "norm_eps": 0}
    wrong |= {"cross_attention_dim": 768, "num_layers": -1, "sample_size": True, "patch_size": "2", "in_channels": 4.0}
    path = write(tmp_path / "config.json", TRANSFORMER | wrong)
    with pytest.raises(CheckpointError) as caught:
        read_transformer_config(path)
    assert str(caught.value).startswith(f"{path}: settings that cannot be honoured: mystery, ")
    assert all(name in str(caught.value) for name in wrong)


@pytest.mark.parametrize("name", [None, "UNet2DModel", "PixArtTransformer2DModel", ["DiTTransformer2DModel"]])
def test_another_transformer_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(CheckpointError, match="_class_name must be DiTTransformer2DModel or Transformer2DModel, got"):
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | {"_class_name": name}))


@pytest.mark.parametrize("key", ["custom_pipeline", "auto_map", "trust_remote_code"])
def test_a_config_that_asks_to_run_code_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"{key} asks to run code"):
        read_transformer_config(write(tmp_path / "config.json", TRANSFORMER | {key: "my_module.MyModel"}))
    write(tmp_path / "model_index.json", INDEX | {key: "my_pipeline"})
    with pytest.raises(CheckpointError, match=f"{key} asks to run code"):
        read_index(tmp_path)
    write(tmp_path / "scheduler_config.json", {"_class_name": "DDIMScheduler", key: "x"})
    with pytest.raises(CheckpointError, match=f"{key} asks to run code"):
        read_schedule(tmp_path, "DDIMScheduler")


def test_a_plain_index_is_read(tmp_path: Path) -> None:
    write(tmp_path / "model_index.json", INDEX)
    assert read_index(tmp_path) == INDEX


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "_class_name must be DiTPipeline"),
        ({"transformer": ["my_code", "DiTTransformer2DModel"]}, "transformer must be DiTTransformer2DModel or"),
        ({"transformer": ["diffusers", "UNet2DModel"]}, "transformer must be DiTTransformer2DModel or"),
        ({"transformer": None}, "transformer must be"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "vae must be AutoencoderKL"),
        ({"vae": "AutoencoderKL"}, "vae must be AutoencoderKL"),
        ({"scheduler": ["mine", "DDIMScheduler"]}, "scheduler must be a scheduler of diffusers"),
        ({"safety_checker": ["x", "y"], "unet": [None, None]}, "entries that are not a DiT's: safety_checker, unet"),
    ],
)
def test_an_index_with_other_components_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    write(tmp_path / "model_index.json", INDEX | change)
    with pytest.raises(CheckpointError) as caught:
        read_index(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("place", ["pipeline.py", "transformer/modeling.PY", "vae/x.py"])
def test_a_folder_with_code_is_refused_by_name(tmp_path: Path, place: str) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "vae").mkdir()
    (tmp_path / "README.md").write_text("text is welcome")
    refuse_code(tmp_path)
    (tmp_path / place).write_text("raise SystemExit")
    with pytest.raises(CheckpointError, match=f"a checkpoint's code is never run: {place}"):
        refuse_code(tmp_path)


def test_labels_are_split_and_may_have_gaps() -> None:
    names = {"0": "tench, Tinca tinca", "2": "shark"}
    assert read_labels(Path("x"), names, 3) == (("tench", "Tinca tinca"), (), ("shark",))
    assert read_labels(Path("x"), None, 2) == ()


@pytest.mark.parametrize(
    "names", [{"3": "x"}, {"-1": "x"}, {"a": "x"}, {"0": 1}, {"²": "x"}, {"9" * 5000: "x"}, "x", ["x"] * 4]
)
def test_labels_of_no_class_are_refused(names: object) -> None:
    with pytest.raises(CheckpointError, match="index: id2label"):
        read_labels(Path("index"), names, 3)


def test_the_scheduler_config_becomes_a_schedule(tmp_path: Path) -> None:
    config = {"_class_name": "DDIMScheduler", "clip_sample": False, "steps_offset": 1, "beta_end": 0.03}
    write(tmp_path / "scheduler_config.json", config)
    assert read_schedule(tmp_path, "DDIMScheduler") == Schedule(steps_offset=1, beta_end=0.03)


@pytest.mark.parametrize(
    "change",
    [
        {"thresholding": True},
        {"beta_schedule": 3},
        {"trained_betas": "x"},
        {"beta_end": 2},
        {"num_train_timesteps": 10**9},
    ],
)
def test_a_scheduler_that_cannot_be_honoured_is_refused_with_its_file(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = write(tmp_path / "scheduler_config.json", {"_class_name": "DDIMScheduler", **change})
    with pytest.raises(CheckpointError) as caught:
        read_schedule(tmp_path, "DDIMScheduler")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_scheduler_other_than_the_indexs_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "scheduler_config.json", {"_class_name": "DDPMScheduler"})
    with pytest.raises(CheckpointError, match=r"'DDPMScheduler', model_index.json says 'DDIMScheduler'"):
        read_schedule(tmp_path, "DDIMScheduler")


def test_safetensors_are_preferred_to_bin_and_whole_files_to_shards(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        find_weights(tmp_path)
    names = [
        f"diffusion_pytorch_model.{ending}"
        for ending in ("bin.index.json", "bin", "safetensors.index.json", "safetensors")
    ]
    for name in names:
        write(tmp_path / name, {"weight_map": {"a": f"shard-of-{name}"}})
        wanted = f"shard-of-{name}" if name.endswith("json") else name
        assert find_weights(tmp_path) == (tmp_path / wanted,)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(list(INDEX.values())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([*INDEX, *PUBLISHED, "norm_eps", "beta_end", "trained_betas", "steps_offset", "id2label"])


@given(st.dictionaries(keys | st.text(max_size=9), values, max_size=3), st.sampled_from([INDEX, PUBLISHED]))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, change: object, whole: object) -> None:
    assert isinstance(change, dict)
    assert isinstance(whole, dict)
    folder = tmp_path_factory.getbasetemp()
    for name, base in (
        ("model_index", whole),
        ("config", whole),
        ("scheduler_config", {"_class_name": "DDIMScheduler"}),
    ):
        write(folder / f"{name}.json", base | change)
    readers = (
        lambda: read_index(folder),
        lambda: read_transformer_config(folder / "config.json"),
        lambda: read_schedule(folder, "DDIMScheduler"),
        lambda: read_labels(folder, change, 3),
    )
    for read in readers:
        with contextlib.suppress(CheckpointError):
            read()

"""models/checkpoints/components/diffusers_folder.py."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.checkpoints.components.diffusers_folder import find_model, read_index, read_labels, refuse_code
from dit_serve.models.checkpoints.components.scheduler_config import read_schedule
from dit_serve.models.checkpoints.components.transformer_config import read_transformer_config
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.components.configs import INDEX, PUBLISHED, TRANSFORMER, write


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
        ({"transformer": [None, None]}, "transformer must be"),
        ({"transformer": ["diffusers_modules", "DiTTransformer2DModel"]}, "would be code that is never run"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "vae must be AutoencoderKL"),
        ({"vae": ["diffusers", "AutoencoderDC"]}, "got ['diffusers', 'AutoencoderDC']: no other is read here"),
        ({"vae": "AutoencoderKL"}, "vae must be AutoencoderKL"),
        ({"scheduler": ["mine", "DDIMScheduler"]}, "scheduler must be a scheduler of diffusers"),
        ({"safety_checker": ["x", "y"], "unet": [1]}, "entries that are not a DiT's: safety_checker, unet"),
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


def test_components_that_are_null_are_absent(tmp_path: Path) -> None:
    nothing = [None, None]
    write(tmp_path / "model_index.json", INDEX | {"vae": nothing, "scheduler": nothing, "safety_checker": nothing})
    assert read_index(tmp_path).keys() == {"_class_name", "_diffusers_version", "transformer"}


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("model_index.json", "."),
        ("config.json", "."),
        ("inner/model_index.json", "inner"),
        ("checkpoint-500/transformer/config.json", "checkpoint-500/transformer"),
        ("snapshots/0123abc/model_index.json", "snapshots/0123abc"),
    ],
)
def test_the_only_model_in_a_folder_is_found(tmp_path: Path, place: str, found: str) -> None:
    write(tmp_path / place, TRANSFORMER)
    write(tmp_path / "vae" / "config.json", {"_class_name": "AutoencoderKL"})
    (tmp_path / "logs").mkdir()
    (tmp_path / "optimizer.bin").write_bytes(b"x")
    assert find_model(tmp_path) == tmp_path / found


def test_of_a_trainers_folder_the_average_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("transformer", "transformer_ema"):
        write(tmp_path / name / "config.json", TRANSFORMER)
    with caplog.at_level("INFO", "dit.models"):
        assert find_model(tmp_path) == tmp_path / "transformer_ema"
    assert [record.message for record in caplog.records] == [f"{tmp_path}: transformer_ema in it is opened"]
    assert find_model(tmp_path, "model") == tmp_path / "transformer"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["checkpoint-1/transformer/config.json", "checkpoint-2/transformer/config.json"], "holds several models"),
        (["transformer/config.json", "vae/config.json"], "a pipeline's folder without its model_index.json"),
        (["transformer/config.json", "scheduler/scheduler_config.json"], "without its model_index.json"),
        (["0100000.pt", "0200000.pt", "optimizer.bin"], "give one of its files: 0200000.pt, 0100000.pt"),
        (["README.md", "optimizer.bin"], "holds neither model_index.json nor config.json"),
    ],
)
def test_a_folder_that_is_no_model_says_what_to_give(tmp_path: Path, places: list[str], words: str) -> None:
    for place in places:
        write(tmp_path / place, TRANSFORMER)
    with pytest.raises(CheckpointError) as caught:
        find_model(tmp_path)
    assert words in str(caught.value)


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

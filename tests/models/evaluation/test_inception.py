"""The Inception network: weights of its exact form drawn at random, and which of its layers are looked at."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dit_serve.models.errors import CheckpointError, EvaluationError
from dit_serve.models.evaluation import inception
from dit_serve.models.evaluation.inception import INSTALL, Inception, load_inception

CPU = torch.device("cpu")
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(inception.PACKAGE) is None, reason=f"torch-fidelity is not installed: {INSTALL}"
)
# Whose channels, and how the published TensorFlow graph's layers are called in the port: mixed is Mixed_5b
PORTED = {"mixed_3": "Mixed_6a", "mixed_4": "Mixed_6b", "mixed_5": "Mixed_6c", "mixed_6": "Mixed_6d"}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A state dict of the network's exact names and shapes, no weight at zero."""
    kind = inception._extractor_class()
    generator = torch.Generator().manual_seed(0)

    class Empty(kind):  # type: ignore[misc, valid-type]
        def load_state_dict(self, *given: object) -> None:
            """Keeps what the module was made with."""

    module = Empty("any", ["2048"], feature_extractor_weights_path=_no_weights())
    found: dict[str, torch.Tensor] = module.state_dict()
    for name, tensor in found.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point() and tensor.ndim > 1:
            tensor.normal_(std=(2.0 / tensor[0].numel()) ** 0.5, generator=generator)
    return found


@pytest.fixture(scope="module")
def weights(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # as files of before 2020 are
    return path


@pytest.fixture(scope="module")
def network(weights: Path) -> Inception:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIT_CACHE", str(weights.parent / "cache"))
        return load_inception(CPU, str(weights))


def _no_weights() -> io.BytesIO:
    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    return file


@needs_package
def test_outputs_are_those_of_adms_evaluator(network: Inception) -> None:
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    inputs: list[torch.Tensor] = []
    module = network._extractor
    hook = getattr(module, PORTED["mixed_6"]).register_forward_hook(lambda _, given, out: inputs.append(given[0]))
    found = network(images)
    hook.remove()
    assert (found.pooled.shape, found.spatial.shape, found.probabilities.shape) == ((2, 2048), (2, 2023), (2, 1008))
    assert {found.pooled.dtype, found.spatial.dtype, found.probabilities.dtype} == {torch.float32}
    branch = module.Mixed_6d.branch1x1
    first_seven = torch.relu(branch.bn(branch.conv(inputs[0])))[:, :7]
    assert torch.equal(found.spatial.reshape(2, 17, 17, 7), first_seven.permute(0, 2, 3, 1))
    logits = found.pooled @ module.fc.weight.T  # without the bias
    assert module.fc.bias.abs().min() > 0
    torch.testing.assert_close(found.probabilities, logits.softmax(dim=1))
    alone = network(images[1:])
    torch.testing.assert_close(alone.pooled, found.pooled[1:], rtol=1e-4, atol=1e-4)


@needs_package
def test_the_package_needs_no_torchvision_and_leaves_nothing_imported(network: Inception) -> None:
    assert not [name for name in sys.modules if name.split(".")[0] in (inception.PACKAGE, "torchvision")]
    assert network.name.startswith("inception (torch-fidelity ")


@needs_package
def test_weights_are_taken_as_safetensors_too_and_named_by_their_sum(
    state: dict[str, torch.Tensor], network: Inception, tmp_path: Path
) -> None:
    save_file(state, tmp_path / "weights.safetensors")
    other = load_inception(CPU, str(tmp_path / "weights.safetensors"))
    found, expected = other._extractor.state_dict(), network._extractor.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert other.sha256 != network.sha256


@needs_package
def test_weights_that_do_not_fit_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    def refusal(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, tmp_path / "weights.safetensors")
        with pytest.raises(EvaluationError) as raised:
            load_inception(CPU, str(tmp_path / "weights.safetensors"))
        return str(raised.value)

    assert "is no Inception, it has no" in refusal({"x": torch.zeros(2)})
    assert "no state dict of this Inception" in refusal({n: t for n, t in state.items() if "Mixed_7c" not in n})
    damaged = state["fc.weight"].clone()
    damaged[0, 0] = torch.nan
    assert "NaN or infinity" in refusal(state | {"fc.weight": damaged})
    (tmp_path / "weights.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointError, match="a web page"):
        load_inception(CPU, str(tmp_path / "weights.pth"))
    with pytest.raises(EvaluationError, match="no such file of Inception weights"):
        load_inception(CPU, str(tmp_path / "none.pth"))


@needs_package
def test_the_usual_file_must_be_the_published_one(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / inception.FILE).symlink_to(weights)
    with pytest.raises(EvaluationError, match="is not the published file"):
        load_inception(CPU)


@needs_package
def test_what_cannot_be_downloaded_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(EvaluationError) as raised:
        load_inception(CPU, "http://127.0.0.1:1/weights.pth")
    assert "cannot be downloaded" in str(raised.value)
    assert "--inception-weights" in str(raised.value)


def test_the_version_that_people_are_told_to_install_is_the_one_that_is_tested() -> None:
    pinned = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    assert f"torch-fidelity=={inception.TESTED}" in pinned


def test_without_the_package_the_sentence_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "PACKAGE", "no_such_package")
    with pytest.raises(EvaluationError, match="pip install --no-deps torch-fidelity=="):
        load_inception(CPU)

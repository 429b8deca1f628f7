"""The Inception v3 of 2015 that FID is defined by, as torch-fidelity ports it, with the outputs of ADM's evaluator.

    pooled         pool_3, 2,048 numbers
    spatial        the first 7 channels of mixed_6/conv, 17 x 17 x 7 in TensorFlow's order: 2,023 numbers
    probabilities  softmax over 1,008 logits without their bias, as the evaluator's product with the last weights

torch-fidelity's converter of weights says which of its layers is mixed_6/conv: the 1x1 branch of Mixed_6d
(utils/util_convert_inception_weights.py). Its own feature '768' is another thing: the mean of Mixed_6e over the image.
Images are scaled to 299 pixels by its copy of TensorFlow 1's bilinear rule, without antialiasing.

torch-fidelity (Apache-2.0) imports torchvision for its other networks. This one needs none, and torchvision is left out
here (CONTRIBUTING.md), so its module alone is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import sys
import types
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dit_serve.models.checkpoints.cache import cache_room, files_sha256
from dit_serve.models.checkpoints.convert import ensure_safetensors
from dit_serve.models.checkpoints.files import reason
from dit_serve.models.checkpoints.hub import fetch_file, is_hub_id
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.checkpoints.trust import make_folder
from dit_serve.models.device import plain_arithmetic
from dit_serve.models.errors import EvaluationError, listed, printable
from dit_serve.models.evaluation.networks import INCEPTION_SHA256, Activations
from dit_serve.models.options import expanded

PACKAGE, TESTED = "torch_fidelity", "0.4.0"
INSTALL = f"pip install --no-deps torch-fidelity=={TESTED}"
FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
HUB_FILES = (FILE, FILE.replace(".pth", ".safetensors"), "model.safetensors")  # of a repository that is named alone
SPATIAL_CHANNELS = 7
_DOWNLOADS = "downloads"  # the cache's folder


class Inception:
    """The network with its weights, on one device.

    Args:
        extractor: torch-fidelity's module, of the features '2048' and 'logits_unbiased'.
        name, sha256: see `FeatureNetwork`.
        device: where it runs.
    """

    def __init__(self, extractor: Any, name: str, sha256: str, device: torch.device) -> None:
        self.name, self.sha256 = name, sha256
        self._extractor = extractor.to(device).eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> Activations:
        """The activations of images (N, 3, H, W) uint8."""
        maps: list[torch.Tensor] = []
        layer = self._extractor.Mixed_6d.branch1x1
        hook = layer.register_forward_hook(lambda module, inputs, output: maps.append(output))
        # TF32 would round the convolutions of a card to ten bits, and the figures would depend on the card
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, deterministic=True, allow_tf32=False)
        try:
            with plain_arithmetic(self._device), exact:
                pooled, logits = self._extractor(images.to(self._device))
        finally:
            hook.remove()
        spatial = maps[0][:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)  # as the published statistics have it
        return Activations(pooled.float(), spatial.float(), logits.float().softmax(dim=1))


def load_inception(device: torch.device, weights: str | None = None) -> Inception:
    """The network with its published weights, downloaded once into the cache, or with other ones.

    Args:
        weights: a file, URL or hub id of the same state dict, as .pth or safetensors; None for the published ones.

    Raises:
        EvaluationError: torch-fidelity is missing, or the weights do not fit it.
        CheckpointError: the weights cannot be read.
    """
    kind = _extractor_class()
    path = _weights_file(weights)
    sha256 = files_sha256([path])
    if weights is None and sha256 != INCEPTION_SHA256:
        raise EvaluationError(f"{path}: is not the published file (SHA-256 {sha256[:16]}…): remove it, and try again")
    state = load_file(ensure_safetensors(path, part="whole"))
    _check(path, state)
    # The module takes weights by torch.load alone, whatever they hold; what it is given was written here, of tensors
    written = io.BytesIO()
    torch.save(state, written)
    written.seek(0)
    try:
        extractor = kind("inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=written)
    except RuntimeError as error:
        words = printable(str(error).partition("\n")[2].strip() or str(error), 120)
        raise EvaluationError(f"{path}: is no state dict of this Inception ({words}): give {FILE}") from error
    return Inception(extractor, f"inception (torch-fidelity {importlib.metadata.version(PACKAGE)})", sha256, device)


def _extractor_class() -> Any:
    """torch-fidelity's class of the network, with nothing else of the package left imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise EvaluationError(f"the Inception network needs torch-fidelity, which is not installed: {INSTALL}")
    before = {name: module for name, module in sys.modules.items() if _is_of_package(name)}
    if not before:
        bare = types.ModuleType(PACKAGE)  # the package's own first lines import all its networks, and torchvision
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules[PACKAGE] = bare
    try:
        return importlib.import_module(f"{PACKAGE}.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    except (ImportError, AttributeError) as error:
        raise EvaluationError(f"torch-fidelity here is of another make ({printable(error, 80)}): {INSTALL}") from error
    finally:
        for name in [name for name in sys.modules if _is_of_package(name) and name not in before]:
            del sys.modules[name]


def _is_of_package(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _weights_file(weights: str | None) -> Path:
    """The file on this machine, downloaded if it is a URL or of a hub and was not yet."""
    if weights is None:
        usual = Path(torch.hub.get_dir()) / "checkpoints" / FILE  # where torch-fidelity itself downloads it to
        return usual if usual.is_file() else _downloaded(URL, "6726825d")
    if weights.startswith(("https://", "http://")):
        return _downloaded(weights, None)
    path = Path(expanded(weights))
    if not path.exists() and is_hub_id(weights):
        return fetch_file(weights, HUB_FILES)
    if not path.exists():
        raise EvaluationError(f"{path}: no such file of Inception weights: check the path{hint(path)}")
    return path


def _downloaded(url: str, hash_prefix: str | None) -> Path:
    target = cache_room(_DOWNLOADS) / (url.rstrip("/").rpartition("/")[2].partition("?")[0] or FILE)
    if target.is_file():
        return target
    try:
        make_folder(target.parent)
        torch.hub.download_url_to_file(url, str(target), hash_prefix, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, ValueError) as error:  # the last of a sum that is another, or a URL that is none
        words = printable(reason(error), 80)
        raise EvaluationError(
            f"{printable(url, 120)}: cannot be downloaded ({words}): fetch it elsewhere, and give the file by "
            "--inception-weights"
        ) from error
    return target


def _check(path: Path, state: dict[str, torch.Tensor]) -> None:
    wanted = {"Conv2d_1a_3x3.conv.weight", "Mixed_6d.branch1x1.conv.weight", "fc.weight", "fc.bias"}
    if missing := sorted(wanted - state.keys()):
        raise EvaluationError(f"{path}: is no Inception, it has no {listed(missing, 80)}: give {FILE}")
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise EvaluationError(f"{path}: holds NaN or infinity: copy it anew")

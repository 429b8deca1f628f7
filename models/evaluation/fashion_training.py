"""Trains the classifier of fashion.py again, on Fashion-MNIST's train part, and says how it reads the test part.

    python -m dit_serve.models.evaluation.fashion_training --out build/fashion.safetensors

Needs Debian's package dataset-fashion-mnist and about ten minutes of two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from dit_serve.models.evaluation.fashion import SIDE, FashionClassifier
from dit_serve.models.progress import told_steps
from dit_serve.models.training.fashion import IdxPictures, open_fashion
from dit_serve.models.training.saving import replacing

BATCH = 128
REACH = 2  # pixels that a picture may be moved by
HIGHEST_RATE, WEIGHT_DECAY, SMOOTHING = 4e-3, 5e-2, 0.05


def train_classifier(dataset: IdxPictures, epochs: int, seed: int) -> FashionClassifier:
    """Return a classifier trained on these pictures: each mirrored half the time, and moved by up to 2 pixels."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = FashionClassifier().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * (len(dataset) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=HIGHEST_RATE, weight_decay=WEIGHT_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, HIGHEST_RATE, total_steps=steps, pct_start=0.2)
    images = torch.from_numpy(dataset.scans.copy()).unsqueeze(1)
    order = torch.empty(0, dtype=torch.int64)
    with told_steps("classifier", steps) as told:
        for _ in range(steps):
            if len(order) < BATCH:
                order = torch.randperm(len(images), generator=generator)
            rows, order = order[:BATCH], order[BATCH:]
            with torch.autocast("cpu", torch.bfloat16):
                logits = network.logits(augmented(images[rows].float() / 255.0, generator)).float()
            loss = F.cross_entropy(logits, dataset.labels[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
            told.advance(f"loss {loss.item():.3f}")
    network.eval()
    return network


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images (N, 1, 28, 28) mirrored half the time and moved by up to `REACH` pixels, black coming in."""
    is_flipped = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(is_flipped[:, None, None, None], images.flip(-1), images)
    padded = F.pad(images, (REACH,) * 4)
    corners = torch.randint(0, 2 * REACH + 1, (2, len(images), 1), generator=generator)
    rows, columns = corners + torch.arange(SIDE)
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


@torch.inference_mode()
def accuracy(network: FashionClassifier, dataset: IdxPictures) -> float:
    """Return the share of pictures that are read as their class."""
    scans = torch.from_numpy(dataset.scans.copy()).unsqueeze(1)
    found = torch.cat([network.logits(part.float() / 255.0).argmax(1) for part in torch.split(scans, 500)])
    return float((found == dataset.labels).float().mean())


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """A weight as it is written: float16, in the order of its dimensions."""
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, writes float16 weights, and prints the share of the test part that they read right."""
    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.evaluation.fashion_training")
    parser.add_argument("--out", type=Path, default=Path("build/fashion.safetensors"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    network = train_classifier(open_fashion("train", SIDE), options.epochs, options.seed)
    weights = network.state_dict()
    state = {name: _stored(tensor) for name, tensor in weights.items()}
    with replacing(options.out) as partial:
        save_file(state, partial)
    network.load_state_dict(state)  # what was written, rounded as it is
    print(f"{options.out}: {accuracy(network, open_fashion('test', SIDE)):.2%} of the test part")


if __name__ == "__main__":
    main()

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Activations:
    pooled: torch.Tensor
    spatial: torch.Tensor
    probabilities: torch.Tensor

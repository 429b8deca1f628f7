"""The autoencoder's decoder with all that stands between its convolutions in two ops, as a card serves it.

diffusers' modules give a card a pass over the image for each bias, residual, division by a factor of one, and nearest
upsampling. Here a group norm and its SiLU are one op (kernels/groupnorm_silu.py), all that is added to a convolution
and the upsampling after it another (kernels/add_bias.py). Parameters keep their names. Knows no VAE and no folder.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D

from dit_serve.kernels.add_bias import add_bias
from dit_serve.kernels.groupnorm_silu import groupnorm_silu

VECTOR = 8  # channels that one load of 16 bytes has in 16 bits; layers of other widths stay as they are


class FusedNorm(torch.nn.Module):
    """A group norm, under its parameters' names, with the activation that follows it.

    Args:
        norm: whose parameters it takes.
        is_activated: whether a SiLU follows.
    """

    def __init__(self, norm: torch.nn.GroupNorm, *, is_activated: bool) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self._groups, self._eps, self._is_activated = norm.num_groups, norm.eps, is_activated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the norm of x (N, C, H, W), or of an attention's (N, C, P)."""
        image = x if x.dim() == 4 else x.unsqueeze(-1)
        y = groupnorm_silu(image, self._groups, self.weight, self.bias, self._eps, self._is_activated)
        return y.view(x.shape)


class FusedConvolution(torch.nn.Module):
    """A convolution, under its parameters' names, whose bias is added in one pass with a residual and an upsampling.

    Args:
        convolution: whose parameters it takes; see `_is_convolution`.
    """

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        assert convolution.bias is not None
        self.weight, self.bias = convolution.weight, convolution.bias
        self._geometry: tuple[Any, ...] = (
            convolution.stride, convolution.padding, convolution.dilation, convolution.groups
        )

    def without_bias(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution alone, (N, O, H, W)."""
        return F.conv2d(x, self.weight, None, *self._geometry)

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None, upsampling: int = 1) -> torch.Tensor:
        """Return up(convolution + bias + residual), (N, O, upsampling H, upsampling W)."""
        return add_bias(self.without_bias(x), self.bias, residual, upsampling)


class FusedResnet(torch.nn.Module):
    """A residual block, under its parameters' names: x, or its 1 x 1 convolution, + what two norms and convolutions do.

    Args:
        block: whose parameters it takes; see `_is_resnet`.
        upsampling: 2 if the block is to do the upsampling that follows it.
    """

    _biases: torch.Tensor  # (O,), of both convolutions that end in the sum, in float32

    def __init__(self, block: ResnetBlock2D, upsampling: int) -> None:
        super().__init__()
        self.norm1 = FusedNorm(block.norm1, is_activated=True)
        self.conv1 = FusedConvolution(block.conv1)
        self.norm2 = FusedNorm(block.norm2, is_activated=True)
        self.conv2 = FusedConvolution(block.conv2)
        self.conv_shortcut = None
        self._upsampling = upsampling
        if block.conv_shortcut is not None:
            self.conv_shortcut = FusedConvolution(block.conv_shortcut)
            biases = self.conv2.bias.float() + self.conv_shortcut.bias.float()
            self.register_buffer("_biases", biases.detach(), persistent=False)

    def forward(self, x: torch.Tensor, temb: None = None) -> torch.Tensor:
        """Return the block's image, (N, O, upsampling H, upsampling W); diffusers' blocks give a `temb` of None."""
        h = self.norm2(self.conv1(self.norm1(x)))                                         # (N, O, H, W)
        if self.conv_shortcut is None:
            return self.conv2(h, x, self._upsampling)  # type: ignore[no-any-return]
        h, residual = self.conv2.without_bias(h), self.conv_shortcut.without_bias(x)
        return add_bias(h, self._biases, residual, self._upsampling)


def fuse(decoder: Decoder) -> None:
    """Put the fused modules in the place of a decoder's own.

    What it does not know stays as it is: another class, norm, activation or scale, or a width that is no multiple of
    VECTOR. The weights must have been loaded: a block keeps the sum of two biases.
    """
    for parent in list(decoder.modules()):
        if isinstance(parent, Attention) and _is_affine(parent.group_norm):
            parent.group_norm = FusedNorm(parent.group_norm, is_activated=False)
        if type(parent) is UpDecoderBlock2D and _is_resnet(parent.resnets[-1]) and _are_upsamplers(parent.upsamplers):
            parent.resnets[-1] = FusedResnet(parent.resnets[-1], upsampling=2)
            convolution = FusedConvolution(parent.upsamplers[0].conv)
            parent.upsamplers[0] = torch.nn.Sequential(OrderedDict(conv=convolution))
        for name, child in list(parent.named_children()):
            if _is_resnet(child):
                setattr(parent, name, FusedResnet(child, upsampling=1))
    if _is_convolution(decoder.conv_in):
        decoder.conv_in = FusedConvolution(decoder.conv_in)
    if _is_affine(decoder.conv_norm_out) and _is_silu(decoder.conv_act):
        decoder.conv_norm_out = FusedNorm(decoder.conv_norm_out, is_activated=True)
        decoder.conv_act = torch.nn.Identity()


def _is_resnet(block: Any) -> bool:
    """Return whether a block is diffusers' residual block in its plain form, which FusedResnet computes."""
    if type(block) is not ResnetBlock2D:
        return False
    convolutions = (block.conv1, block.conv2, *([] if block.conv_shortcut is None else [block.conv_shortcut]))
    return bool(
        _is_affine(block.norm1, block.norm2) and _is_convolution(*convolutions) and _is_silu(block.nonlinearity)
        and block.time_emb_proj is None and block.time_embedding_norm in ("default", "group")
        and block.upsample is None and block.downsample is None and block.output_scale_factor == 1
    )


def _are_upsamplers(upsamplers: Any) -> bool:
    """Return whether there is one upsampler: of twice the size, by the nearest neighbour, and then a convolution."""
    if upsamplers is None or len(upsamplers) != 1 or type(upsamplers[0]) is not Upsample2D:
        return False
    (one,) = upsamplers
    is_nearest = one.interpolate and one.norm is None and not one.use_conv_transpose
    return bool(is_nearest and one.use_conv and one.name == "conv" and _is_convolution(one.conv))


def _is_affine(*norms: object) -> bool:
    return all(type(norm) is torch.nn.GroupNorm and norm.affine for norm in norms)


def _is_convolution(*layers: object) -> bool:
    """Return whether all are plain convolutions with a bias, and of a width that is loaded in whole vectors."""
    return all(
        type(layer) is torch.nn.Conv2d and layer.bias is not None and layer.padding_mode == "zeros"
        and layer.out_channels % VECTOR == 0 for layer in layers
    )


def _is_silu(activation: object) -> bool:
    return type(activation) is torch.nn.SiLU

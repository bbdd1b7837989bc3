"""SAM2's neck without gradients, where most of it can be left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tgl_e2e.model.features import FrameFeatures


def quick_neck(neck: nn.Module, decoder: nn.Module, stages: list[Tensor]) -> FrameFeatures:
    """As :meth:`tgl_e2e.model.vision.Vision.neck`, where nothing is added to the two fine levels on
    the way down: the neck's projection and the decoder's are one.

    Args:
        neck: SAM2's FpnNeck; decoder: its mask decoder.
        stages: (N, H_k, W_k, C_k) outputs of the trunk, finest first.
    """
    fine = (
        _project_twice(stages[0], neck.convs[3].conv, decoder.conv_s0),
        _project_twice(stages[1], neck.convs[2].conv, decoder.conv_s1),
    )
    third, fourth = (
        neck.convs[3 - level](rearrange(stages[level], "n h w c -> n c h w")) for level in (2, 3)
    )
    if 2 in neck.fpn_top_down_levels:
        third = third + F.interpolate(fourth.float(), scale_factor=2.0, mode=neck.fpn_interp_model)
        third = third / 2 if neck.fuse_type == "avg" else third
    return FrameFeatures(top=third, fine=fine)


def _project_twice(x: Tensor, first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """Two 1 x 1 convolutions as one: (N, H, W, C) -> (N, C', H, W)"""
    with torch.autocast(x.device.type, enabled=False):
        weight = second.weight.flatten(1) @ first.weight.flatten(1)
        bias = second.weight.flatten(1) @ first.bias + second.bias
    return rearrange(F.linear(x, weight, bias), "n h w c -> n c h w").contiguous()

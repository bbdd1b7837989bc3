"""Per-pixel classification on image features: a stand-in for SAM2's pretraining.

Used in training from scratch only; no part of a checkpoint that is shipped.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgl_e2e.model.features import FrameFeatures


class DenseHead(nn.Module):
    """One linear classifier per feature level, summed at the finest (stride 4).

    Args:
        dim: C of the top level.
        classes: attribute -> number of classes; ``object`` (object or background) is added.
    """

    def __init__(self, dim: int, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = {"object": 1, **classes}
        total = sum(self.sizes.values())
        self.top = nn.Conv2d(dim, total, 1)
        self.fine = nn.ModuleList(nn.Conv2d(dim // k, total, 1, bias=False) for k in (8, 4))

    def forward(self, features: FrameFeatures) -> dict[str, Tensor]:
        """attribute -> (N, K, 4h, 4w) logits"""
        finest = self.fine[0](features.fine[0])
        size = finest.shape[-2:]
        logits = finest
        for level in (self.fine[1](features.fine[1]), self.top(features.top)):
            logits = logits + F.interpolate(level, size=size, mode="bilinear", align_corners=False)
        return dict(
            zip(self.sizes, torch.split(logits, list(self.sizes.values()), dim=1), strict=True)
        )

"""What goes from step to step of the network: features of frames and clips, predicted masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ABSENT_LOGIT = -1024.0  # SAM2's mask logit where it thinks that the object is absent


@dataclass
class FrameFeatures:
    """What the mask decoder and memory need of N frames.

    top: (N, C, h, w) at stride 16; fine: ((N, C/8, 4h, 4w), (N, C/4, 2h, 2w)), already through the
    decoder's 1 x 1 convolutions.
    """

    top: Tensor
    fine: tuple[Tensor, Tensor]

    def __len__(self) -> int:
        return len(self.top)

    def __getitem__(self, index: Tensor | slice) -> FrameFeatures:
        return FrameFeatures(self.top[index], tuple(level[index] for level in self.fine))

    def clone(self) -> FrameFeatures:
        """A copy that does not keep the batch alive of which this is a view."""
        return FrameFeatures(self.top.clone(), tuple(level.clone() for level in self.fine))

    @staticmethod
    def cat(parts: list[FrameFeatures]) -> FrameFeatures:
        return FrameFeatures(
            torch.cat([p.top for p in parts]),
            tuple(torch.cat(levels) for levels in zip(*(p.fine for p in parts), strict=True)),
        )


@dataclass
class MaskPrediction:
    """masks: (N, 4h, 4w) float32 logits; presence: (N,) logits; pointers: (N, C)."""

    masks: Tensor
    presence: Tensor
    pointers: Tensor

    def gated(self) -> Tensor:
        """Mask logits as SAM2 returns them at inference: -1024 where the object is absent."""
        return torch.where(
            self.presence[:, None, None] > 0, self.masks, torch.full_like(self.masks, ABSENT_LOGIT)
        )


@dataclass
class AdaptedClip:
    """B clips of T frames after the adapters.

    features: F_Adp of B * T frames (clip by clip); prompts: (B, 1, C) rho_txt; relevance: (B, T)
    logits s_t, None where not asked for; visual: (B, T, H, W, C) last stage, for pictures and
    auxiliary losses; similarity: (B, T, S/16, S/16) logits of the learned prior, None without one.
    """

    features: FrameFeatures
    prompts: Tensor
    relevance: Tensor | None
    visual: Tensor
    similarity: Tensor | None = None


@dataclass
class TGLOutput:
    """masks: (B, T, S/4, S/4) logits; presence: (B, T) logits; relevance: (B, T) logits s_t or None
    (T = 1, image stage); adapted: the features behind them."""

    masks: Tensor
    presence: Tensor
    relevance: Tensor | None
    adapted: AdaptedClip

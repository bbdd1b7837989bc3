"""What goes from step to step of the network: features of frames and clips, predicted masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing import Self

ABSENT_LOGIT = -1024.0  # SAM2's mask logit where it thinks that the object is absent


class Tensors:
    """What dataclasses of tensors that share their first dimension N have in common."""

    def __len__(self) -> int:
        """N"""
        return len(getattr(self, fields(self)[0].name))

    def map(self, function: Callable[..., Tensor], *others: Self) -> Self:
        """``function`` of each tensor, and of the same one of ``others``."""

        def of(*parts: Any) -> Any:
            if isinstance(parts[0], tuple):
                return tuple(of(*inner) for inner in zip(*parts, strict=True))
            return None if parts[0] is None else function(*parts)

        return type(self)(
            *(of(*(getattr(x, f.name) for x in (self, *others))) for f in fields(self))
        )

    def __getitem__(self, index: Tensor | slice | list[int]) -> Self:
        return self.map(lambda x: x[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda x: x.to(device))

    def clone(self) -> Self:
        """A copy that does not keep the tensors alive of which this is a view."""
        return self.map(Tensor.clone)

    @classmethod
    def cat(cls, parts: Sequence[Self], dim: int = 0) -> Self:
        first, *others = parts
        return first.map(lambda *tensors: torch.cat(tensors, dim), *others)


@dataclass
class FrameFeatures(Tensors):
    """What the mask decoder and memory need of N frames.

    top: (N, C, h, w) at stride 16; fine: ((N, C/8, 4h, 4w), (N, C/4, 2h, 2w)), already through the
    decoder's 1 x 1 convolutions.
    """

    top: Tensor
    fine: tuple[Tensor, Tensor]


@dataclass
class MaskPrediction(Tensors):
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
class Evidence(Tensors):
    """What the TAM has of B clips of T frames.

    visual (B, T, H, W, C): F_Adp of the last adapter. text (B, L, D): E_Adp of the last adapter;
    text_mask (B, L) bool, False at padding. times (B, T) in blocks. measured (B, T, 10, 4H, 4W), of
    :func:`~tgl_e2e.model.displacement.measure`, where it is told what moves, else None.
    """

    visual: Tensor
    text: Tensor
    text_mask: Tensor
    times: Tensor
    measured: Tensor | None = None


@dataclass
class AdaptedClip:
    """B clips of T frames after the adapters.

    features: F_Adp of B * T frames (clip by clip); prompts: (B, 1, C) rho_txt; relevance: (B, T)
    logits s_t, None where not asked for; visual: (B, T, H, W, C) last stage, for pictures and
    auxiliary losses; similarity: (B, T, S/16, S/16) logits of the learned prior, None without one;
    attended: (B, T, H, W) what the TAM attends to, as far as it is known; evidence: what the TAM
    had, None without it.
    """

    features: FrameFeatures
    prompts: Tensor
    relevance: Tensor | None
    visual: Tensor
    similarity: Tensor | None = None
    attended: Tensor | None = None
    evidence: Evidence | None = None


@dataclass
class TGLOutput:
    """masks: (B, T, S/4, S/4) logits; presence: (B, T) logits; relevance: (B, T) logits s_t or None
    (T = 1, image stage); adapted: the features behind them."""

    masks: Tensor
    presence: Tensor
    relevance: Tensor | None
    adapted: AdaptedClip

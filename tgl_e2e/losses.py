"""The training loss (paper Eq. 7, plus the TAM's), as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of each frame, averaged. logits and target (N, H, W) -> ()

    Smoothed by one pixel, so that an empty prediction of an empty target costs nothing.
    """
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    overlap = 2 * (probability * target).sum(dim=1) + 1
    return (1 - overlap / (probability.sum(dim=1) + target.sum(dim=1) + 1)).mean()


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., 2017) averaged over pixels. logits and target (N, H, W) -> ()"""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - target) + (1 - probability) * target  # 1 - p_t
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * missed**gamma * entropy).mean()


def tgl_loss(
    masks: Tensor, presence: Tensor, relevance: Tensor | None, target: Tensor, relevant: Tensor,
    *, dice: float = 1.0, focal: float = 1.0, tam: float = 1.0, present: float = 0.0,
) -> dict[str, Tensor]:
    """L = dice * L_dice + focal * L_focal + tam * BCE(s_t, t in M+) + present * BCE(presence).

    Args:
        masks: (B, T, h, w) logits, resized here to the target's size.
        presence: (B, T) logits of SAM2's object-presence head; supervised as SAM2 does, because the
            head gates masks at inference.
        relevance: (B, T) TAM logits or None (image stage).
        target: (B, T, H, W) bool, the union of the objects kept by OSS (Eq. 6).
        relevant: (B, T) bool, M+.

    Returns:
        Each term unweighted, and their weighted sum as ``loss``. All () float32.
    """
    truth = target.flatten(0, 1).float()
    logits = F.interpolate(
        masks.float().flatten(0, 1)[:, None], size=truth.shape[-2:], mode="bilinear",
        align_corners=False,
    )[:, 0]
    terms = {
        "dice": dice_loss(logits, truth),
        "focal": focal_loss(logits, truth),
        "present": F.binary_cross_entropy_with_logits(
            presence.flatten(), truth.flatten(1).amax(dim=1)),
    }
    loss = dice * terms["dice"] + focal * terms["focal"] + present * terms["present"]
    if relevance is not None:
        terms["tam"] = F.binary_cross_entropy_with_logits(relevance.float(), relevant.float())
        loss = loss + tam * terms["tam"]
    return {"loss": loss, **terms}


def dense_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Per-pixel classification of what the generator knows of each object.

    Args:
        logits: name -> (N, K, H, W) for each attribute, and ``object`` -> (N, 1, H, W).
        labels: name -> (N, H, W) long, -1 where there is no object, and ``object`` -> bool.

    Returns:
        Cross-entropy per attribute over object pixels, BCE for ``object``, their sum as ``loss``.
    """
    terms = {}
    for name, value in logits.items():
        if name == "object":
            terms[name] = F.binary_cross_entropy_with_logits(
                value[:, 0].float(), labels[name].float())
        else:
            # summed and divided by hand: the mean of no pixel at all would be NaN
            summed = F.cross_entropy(
                value.float(), labels[name], ignore_index=-1, reduction="sum")
            terms[name] = summed / (labels[name] >= 0).sum().clamp(min=1)
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}

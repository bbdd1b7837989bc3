"""The training loss (paper Eq. 7, plus the TAM's), as pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_SHOWN = 0.003  # share of a frame from which on it shows a target that is to be attended to
TARGET_CELLS = 8.0  # weight of a similarity map's cells on the target, that of all others is 1


@dataclass(frozen=True)
class LossWeights:
    """lambda of each term; dice_per_frame: dice of each frame, and their mean; focal_alpha: weight
    of the target's pixels, 1 - alpha that of all others."""

    dice: float = 1.0
    focal: float = 1.0
    tam: float = 1.0
    present: float = 0.0
    dice_per_frame: bool = False
    focal_alpha: float = 0.25


def dice_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - Dice over all pixels of a clip (Eq. 7). logits and target (N, T, H, W) -> (N,)

    Over the clip and not frame by frame: in a frame without target a false positive would have
    hardly any gradient. Smoothed by one pixel, so that an empty prediction of an empty target
    costs nothing.

    Args:
        weight: (N, T), 0 for frames that do not count.
    """
    probability, target = logits.sigmoid().flatten(2), target.flatten(2)  # (N, T, H W)
    if weight is None:
        weight = torch.ones_like(probability[..., 0])

    def total(values: Tensor) -> Tensor:
        return (values.sum(dim=2) * weight).sum(dim=1)

    overlap = 2 * total(probability * target) + 1
    return 1 - overlap / (total(probability) + total(target) + 1)


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., 2017) averaged over pixels.

    logits and target (N, H, W) -> (N,)
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - target) + (1 - probability) * target  # 1 - p_t
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * missed**gamma * entropy).flatten(1).mean(dim=1)


def tgl_loss(
    masks: Tensor,
    presence: Tensor,
    relevance: Tensor | None,
    target: Tensor,
    relevant: Tensor,
    supervised: Tensor | None = None,
    weights: LossWeights = LossWeights(),
) -> dict[str, Tensor]:
    """L = dice * L_dice + focal * L_focal + tam * BCE(s_t, t in M+) + present * BCE(presence).

    Every term is a mean over clips (dice: over the pixels of a clip; others: of the mean over its
    frames), so that the loss of a batch is that of its parts, however it is divided among processes
    and accumulation.

    Args:
        masks: (B, T, h, w) logits, resized here to the target's size.
        presence: (B, T) logits of SAM2's object-presence head; supervised as SAM2 does, because the
            head gates masks at inference.
        relevance: (B, T) TAM logits or None (image stage).
        target: (B, T, H, W) bool, the union of the objects kept by OSS (Eq. 6).
        relevant: (B, T) bool, M+.
        supervised: (B, T) bool, the frames whose masks were predicted, some in each clip; None:
            all.

    Returns:
        Each term unweighted, and their weighted sum as ``loss``. All () float32.
    """
    if supervised is None:
        supervised = torch.ones_like(relevant)
    weight = supervised.float() / supervised.sum(dim=1, keepdim=True) / len(supervised)  # (B, T)

    def mean(values: Tensor) -> Tensor:
        return (values.view_as(weight) * weight).sum()

    truth = target.flatten(0, 1).float()
    logits = F.interpolate(
        masks.float().flatten(0, 1)[:, None],
        size=truth.shape[-2:],
        mode="bilinear",
        align_corners=False,
    )[:, 0]
    if weights.dice_per_frame:
        overlap = mean(dice_loss(logits[:, None], truth[:, None]))
    else:
        clips = (len(supervised), -1, *truth.shape[1:])
        overlap = dice_loss(logits.view(clips), truth.view(clips), supervised.float()).mean()
    terms = {
        "dice": overlap,
        "focal": mean(focal_loss(logits, truth, weights.focal_alpha)),
        "present": mean(
            F.binary_cross_entropy_with_logits(
                presence.float().flatten(), truth.flatten(1).amax(dim=1), reduction="none"
            )
        ),
    }
    loss = (
        weights.dice * terms["dice"]
        + weights.focal * terms["focal"]
        + weights.present * terms["present"]
    )
    if relevance is not None:
        terms["tam"] = F.binary_cross_entropy_with_logits(relevance.float(), relevant.float())
        loss = loss + weights.tam * terms["tam"]
    return {"loss": loss, **terms}


def similarity_loss(logits: Tensor, target: Tensor) -> Tensor:
    """BCE of a similarity map, target cells weighted as they are few.

    Args:
        logits: (N, h, w).
        target: (N, H, W) in [0, 1], brought here to shares of cells.

    Returns:
        (N,)
    """
    share = F.interpolate(target[:, None].float(), size=logits.shape[-2:], mode="area")[:, 0]
    weight = logits.new_tensor(TARGET_CELLS)
    entropy = F.binary_cross_entropy_with_logits(
        logits.float(), share, pos_weight=weight, reduction="none"
    )
    return entropy.flatten(1).mean(dim=1)


def attention_loss(attended: Tensor, target: Tensor) -> Tensor:
    """-log of the share of attention that lies on the target, in frames that show it.

    Args:
        attended: (B, T, h, w) shares, which sum to 1 in each frame.
        target: (B, T, H, W) in [0, 1], brought here to shares of cells.

    Returns:
        (B,) the mean of a clip's frames; 0 where none shows the target.
    """
    share = F.interpolate(target.float(), size=attended.shape[-2:], mode="area")
    shown = (share.mean(dim=(2, 3)) > LEAST_SHOWN).float()
    missed = -((attended.float() * share).sum(dim=(2, 3)) + 1e-3).log()
    return (missed * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1)


def noun_loss(logits: Tensor, labels: Tensor, covers: Tensor) -> dict[str, Tensor]:
    """Where each name is seen, all names at once.

    Args:
        logits: (N, K, h, w) of K names.
        labels: (N, H, W) long, which of M nouns a pixel shows, -1 where none.
        covers: (K, M) 1 where the name is said of the noun ("animal" of "dog"), else 0.

    Returns:
        ``loss``: summed over the names; ``hit``: the share of names of which something is seen
        (over 1 % of the image) whose most similar cell lies on it.
    """
    known = F.one_hot(labels + 1, covers.shape[1] + 1)[..., 1:].float()  # (N, H, W, M)
    truth = torch.einsum("nhwm,km->nkhw", known, covers)
    losses = similarity_loss(logits.flatten(0, 1), truth.flatten(0, 1))
    with torch.no_grad():
        share = F.interpolate(truth, size=logits.shape[-2:], mode="area").flatten(2)
        seen = share.mean(dim=2) > 0.01  # (N, K)
        best = share.gather(2, logits.flatten(2).argmax(dim=2, keepdim=True))[..., 0]
        hit = ((best > 0.5) & seen).sum() / seen.sum().clamp(min=1)
    return {"loss": losses.sum() / len(logits), "hit": hit}


def dense_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Per-pixel classification of what the generator knows of each object.

    Args:
        logits: name -> (N, K, H, W) for each attribute, and ``object`` -> (N, 1, H, W), of
            N = B * T frames, clip by clip.
        labels: name -> (B, T, H, W) long, -1 where there is no object, and ``object`` -> bool.

    Returns:
        Cross-entropy per attribute over object pixels of a clip, BCE for ``object``, both averaged
        over clips; their sum as ``loss``.
    """
    terms = {}
    for name, value in logits.items():
        if name == "object":
            terms[name] = F.binary_cross_entropy_with_logits(
                value[:, 0].float(), labels[name].flatten(0, 1).float()
            )
        else:
            known = (labels[name] >= 0).flatten(1).sum(dim=1)  # (B,)
            entropy = F.cross_entropy(
                value.float(), labels[name].flatten(0, 1), ignore_index=-1, reduction="none"
            )
            # divided by hand: the mean of no pixel at all would be NaN
            terms[name] = (entropy.view(len(known), -1).sum(dim=1) / known.clamp(min=1)).mean()
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}

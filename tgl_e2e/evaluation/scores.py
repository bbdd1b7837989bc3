"""From results to numbers: one score per (video, expression), and their summary.

A score holds everything that any summary needs, as plain values: scores may come from several
processes or from an interrupted run, and are put together without the masks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tgl_e2e.data.base import ExpressionRecord
from tgl_e2e.metrics import (
    MAX_WINDOWS,
    contour_accuracy,
    moment_retrieval,
    region_similarity,
    top1_accuracy,
    window_ious,
)
from tgl_e2e.moments import spans
from tgl_e2e.results import Segmentation

MEANS = {"J": "J", "F": "F", "J&F": "jf", "top1": "top1"}  # key -> what of a score
PRECISION_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)  # P@IoU of referring image segmentation

# Where relevance_windows cuts: at fixed probabilities, and at shares of the range between the
# lowest and the highest score, so that a badly calibrated model gets windows too.
WINDOW_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WINDOW_RANGE_SHARES = (0.25, 0.5, 0.75)
MAX_OVERLAP = 0.8  # IoU of two windows that are both kept


@dataclass(frozen=True)
class ExpressionScore:
    """One expression in one video; what is not known (no masks, no moments) is None.

    J, F: in percent, means over the frames. top1: 100 or 0; chance: share of M+ in percent; both
    None without a relevant frame. answered: whether any frame got a mask. moments: the frames
    taken as M+, inclusive. windows: [start, end, score], best first; truth: [start, end] windows.
    relevance: of each processed frame, rounded. intersection, union: pixels, over all frames.
    target_size: share of the pixels that the target takes, in percent, over the frames that show
    it; None if none does. tags: what the data set knows about the expression, for breakdowns; a
    list counts for each of its values.
    """

    video: str
    expression: str
    text: str
    num_frames: int
    no_target: bool
    answered: bool
    J: float | None
    F: float | None
    top1: float | None
    chance: float | None
    moments: list[list[int]]
    truth: list[list[int]] | None
    windows: list[list[float]]
    relevance: list[float]
    intersection: int | None
    union: int | None
    target_size: float | None
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def jf(self) -> float | None:
        """J&F, the mean of J and F."""
        return None if self.J is None or self.F is None else (self.J + self.F) / 2


def score_expression(
    video: str, expression: ExpressionRecord, segmentation: Segmentation, num_frames: int
) -> ExpressionScore:
    """Holds one result against the truth, over the frames that were processed; without tags.

    Args:
        num_frames: of the whole video; `segmentation.frames` are positions in it.
    """
    frames = np.asarray(segmentation.frames)
    answered = False
    j, f, sizes = [], [], []
    intersection = union = 0
    for i, position in enumerate(frames):
        pred = segmentation.mask(i)
        answered = answered or bool(pred.any())
        truth = expression.mask(int(position))
        if truth is not None:
            j.append(region_similarity(pred, truth))
            f.append(contour_accuracy(pred, truth))
            intersection += int(np.count_nonzero(pred & truth))
            union += int(np.count_nonzero(pred | truth))
            if truth.any():
                sizes.append(100 * float(truth.mean()))

    relevance = np.asarray(segmentation.relevance, dtype=float)
    relevant = expression.relevant(num_frames)
    top1 = chance = windows_of_truth = None
    if relevant is not None:
        relevant = relevant[frames]
        top1 = top1_accuracy([relevance], [relevant]) if relevant.any() else None
        chance = 100 * float(relevant.mean()) if relevant.any() else None
        windows_of_truth = [[start, end + 1] for start, end in spans(frames, relevant)]
    return ExpressionScore(
        video=video,
        expression=expression.id,
        text=expression.text,
        num_frames=len(frames),
        no_target=expression.no_target,
        answered=answered,
        J=100 * float(np.mean(j)) if j else None,
        F=100 * float(np.mean(f)) if f else None,
        top1=top1,
        chance=chance,
        moments=[[int(start), int(end)] for start, end in segmentation.moments],
        truth=windows_of_truth,
        windows=[[*w[:2], round(w[2], 6)] for w in relevance_windows(relevance, frames)],
        relevance=[round(float(r), 4) for r in relevance],
        intersection=intersection if j else None,
        union=union if j else None,
        target_size=float(np.mean(sizes)) if sizes else None,
    )


def relevance_windows(relevance: np.ndarray, frames: np.ndarray | None = None) -> list[list[float]]:
    """Turns per-frame relevance into ranked temporal windows.

    Candidates are the runs of consecutive frames at or above each of several thresholds. A
    window's score is the IoU that it is expected to have with the relevant frames if each frame
    is relevant with the probability given: sum inside / (length + sum outside). Unlike the mean
    inside, this does not favour a single confident frame over the whole of its moment. Of two
    windows that overlap by more than MAX_OVERLAP (IoU), the worse is dropped.

    Args:
        relevance: (T,) in [0, 1].
        frames: (T,) ascending frame numbers; None: 0, 1, ..., T - 1.

    Returns:
        [[start, end, score], ...], best first; frames s..e are the window [s, e + 1]. At least
        one window for T >= 1.

    Raises:
        ValueError: `relevance` is not (T,), or `frames` has another length.
    """
    relevance = np.asarray(relevance, dtype=float)
    frames = np.arange(relevance.size) if frames is None else np.asarray(frames)
    if relevance.ndim != 1 or frames.shape != relevance.shape:
        raise ValueError(f"relevance {relevance.shape} and frames {frames.shape} must be (T,)")
    if relevance.size == 0:
        return []
    low, high = relevance.min(), relevance.max()
    levels = [*WINDOW_THRESHOLDS, *(low + share * (high - low) for share in WINDOW_RANGE_SHARES)]
    positions = np.arange(relevance.size)
    runs = {run for level in levels for run in spans(positions, relevance >= level)}

    before = np.concatenate([[0.0], np.cumsum(relevance)])  # before[i]: sum of frames < i
    candidates = []
    for start, end in runs:
        inside, length = before[end + 1] - before[start], end + 1 - start
        score = inside / (length + before[-1] - inside)
        candidates.append([float(frames[start]), float(frames[end]) + 1, float(score)])
    candidates.sort(key=lambda window: (-window[2], window[0], window[1]))

    kept: list[list[float]] = []
    for window in candidates:
        others = np.array([k[:2] for k in kept]).reshape(-1, 2)
        if (window_ious(np.array([window[:2]]), others) <= MAX_OVERLAP).all():
            kept.append(window)
        if len(kept) == MAX_WINDOWS:
            break
    return kept


def summarize(scores: Sequence[ExpressionScore]) -> dict[str, float | int | None]:
    """Means over (video, expression) pairs, in percent; None where nothing is known.

    Expressions without target count as the script of MeViS counts them: a frame is right (J and F
    are 1) where the prediction is empty too, and wrong (0) elsewhere.

    Keys: J, F, J&F, top1; R1@0.5, R1@0.7, mAP, mAP@0.5, mAP@0.75 (see `metrics.moment_retrieval`);
    num_expressions.
    """
    known = [s for s in scores if s.truth is not None]
    retrieval = moment_retrieval([s.windows for s in known], [s.truth for s in known])
    return {
        **means(scores),
        **{key: _rounded(value) for key, value in retrieval.items()},
        "num_expressions": len(scores),
    }


def means(scores: Sequence[ExpressionScore]) -> dict[str, float | None]:
    """The part of `summarize` that makes sense for a single expression: MEANS."""
    return {key: _mean(getattr(s, name) for s in scores) for key, name in MEANS.items()}


def chance_of(scores: Iterable[ExpressionScore]) -> float | None:
    """What `top1` a random frame would have, in percent."""
    return _mean(s.chance for s in scores)


def by_target(scores: Sequence[ExpressionScore]) -> dict[str, dict[str, float | int | None]]:
    """Expressions with and without target apart, as in generalised referring segmentation (GRES).

    T-acc: share of those with a target that got a mask in some frame; N-acc: share of those without
    that got none in any.
    """
    parts = {}
    for name, accuracy, empty in (("with_target", "T-acc", False), ("no_target", "N-acc", True)):
        chosen = [s for s in scores if s.no_target == empty]
        parts[name] = {
            **{key: value for key, value in means(chosen).items() if key != "top1"},
            accuracy: _mean(100.0 * (s.answered != empty) for s in chosen),
            "num_expressions": len(chosen),
        }
    return parts


def image_scores(scores: Sequence[ExpressionScore]) -> dict[str, float | None]:
    """What referring image segmentation reports (RefCOCO/+/g), in percent: mIoU, the mean IoU;
    oIoU, all intersections over all unions; P@x, the share of expressions with IoU of x or more."""
    known = [s for s in scores if s.J is not None]
    union = sum(s.union for s in known)
    return {
        "mIoU": _mean(s.J for s in known),
        "oIoU": _rounded(100 * sum(s.intersection for s in known) / union) if union else None,
        **{
            f"P@{x}": _mean(100.0 * (s.intersection >= x * s.union) for s in known)
            for x in PRECISION_IOUS
        },
    }


def breakdown(scores: Sequence[ExpressionScore]) -> dict[str, dict[str, dict[str, Any]]]:
    """Summaries of the expressions that share a tag, with chance beside them:
    {tag: {value: summary}}, values sorted."""
    groups: dict[str, dict[str, list[ExpressionScore]]] = {}
    for score in scores:
        for tag, value in score.tags.items():
            for one in value if isinstance(value, list | tuple) else [value]:
                name = ("no", "yes")[one] if isinstance(one, bool) else str(one)
                groups.setdefault(tag, {}).setdefault(name, []).append(score)
    return {
        tag: {
            value: {**summarize(members), "chance": chance_of(members)}
            for value, members in sorted(values.items(), key=lambda item: _natural(item[0]))
        }
        for tag, values in groups.items()
    }


def by_video(scores: Iterable[ExpressionScore]) -> dict[str, dict[str, Any]]:
    """MEANS and the number of expressions of each video, in the order of the scores."""
    groups: dict[str, list[ExpressionScore]] = {}
    for score in scores:
        groups.setdefault(score.video, []).append(score)
    return {v: {**means(found), "num_expressions": len(found)} for v, found in groups.items()}


def _natural(name: str) -> list[str | int]:
    """A key that sorts "4 to 10 %" before "10 to 100 %"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(math.fsum(known) / len(known)) if known else None


def _rounded(value: float) -> float | None:
    """Four decimals of a percentage: beyond that only machines differ."""
    return None if math.isnan(value) else round(value, 4)

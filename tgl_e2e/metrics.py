"""What masks and moments are scored with: J, F, moment retrieval, top-1 accuracy.

Masks: region similarity J and contour accuracy F of DAVIS (Perazzi et al., 2016), with the exact
pixel conventions of the official davis2017-evaluation. Moments: R1@IoU and mAP as QVHighlights
defines them (moment_detr's standalone_eval).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tgl_e2e.moments import inside

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal, DAVIS
RETRIEVAL_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # 0.5, 0.55, ..., 0.95
MAX_WINDOWS = 10  # predicted windows per query that count, QVHighlights

Intervals = Sequence[tuple[int, int]]


# Masks


def region_similarity(pred: np.ndarray, gt: np.ndarray) -> float | np.ndarray:
    """J: intersection over union; 1 where both masks are empty.

    Args:
        pred, gt: bool, (H, W) or (T, H, W), of equal shape.

    Returns:
        float for (H, W); (T,) float64, one value per frame, for (T, H, W).

    Raises:
        ValueError: shapes differ or are neither (H, W) nor (T, H, W).
    """
    return _per_frame(_overlap, pred, gt)


def contour_accuracy(pred: np.ndarray, gt: np.ndarray) -> float | np.ndarray:
    """F: the harmonic mean of boundary precision and recall; arguments as `region_similarity`.

    A boundary pixel is matched if the other mask has one within ceil(0.008 * diagonal) pixels
    (Euclidean). Both boundaries empty: 1; one empty, or no match at all: 0. As in DAVIS a mask
    that fills the frame has no boundary.
    """
    return _per_frame(_contours, pred, gt)


def _per_frame(
    metric: Callable[[np.ndarray, np.ndarray], float], pred: np.ndarray, gt: np.ndarray
) -> float | np.ndarray:
    pred, gt = np.asarray(pred, dtype=bool), np.asarray(gt, dtype=bool)
    if pred.shape != gt.shape:
        raise ValueError(f"masks of different shape: {pred.shape} predicted, {gt.shape} given")
    if pred.ndim not in (2, 3):
        raise ValueError(f"masks must be (H, W) or (T, H, W), got {pred.shape}")
    if pred.ndim == 2:
        return metric(pred, gt)
    return np.array([metric(p, g) for p, g in zip(pred, gt, strict=True)])


def _overlap(pred: np.ndarray, gt: np.ndarray) -> float:
    union = np.count_nonzero(pred | gt)
    return np.count_nonzero(pred & gt) / union if union else 1.0


def _contours(pred: np.ndarray, gt: np.ndarray) -> float:
    radius = math.ceil(BOUNDARY_TOLERANCE * np.linalg.norm(pred.shape))
    pred, gt = boundary_map(pred), boundary_map(gt)
    n_pred, n_gt = np.count_nonzero(pred), np.count_nonzero(gt)
    if n_pred == 0 or n_gt == 0:
        return float(n_pred == n_gt)
    # Outside the box around both boundaries nothing can match: dilate inside it only.
    rows, columns = (np.flatnonzero((pred | gt).any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pred, gt = pred[box], gt[box]
    precision = np.count_nonzero(pred & dilate_by_disk(gt, radius)) / n_pred
    recall = np.count_nonzero(gt & dilate_by_disk(pred, radius)) / n_gt
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """One-pixel boundary of a mask: pixels that differ from a neighbour right, below or both.

    The last row compares to the right only, the last column downwards only, the corner never
    (the `seg2bmap` of the Berkeley benchmark that DAVIS uses).

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    edge = np.zeros_like(mask)
    right = mask[:, :-1] ^ mask[:, 1:]  # (H, W - 1)
    below = mask[:-1] ^ mask[1:]  # (H - 1, W)
    edge[:, :-1] = right
    edge[:-1] |= below
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def dilate_by_disk(mask: np.ndarray, radius: int) -> np.ndarray:
    """Binary dilation by the disk of pixels with dx^2 + dy^2 <= radius^2; outside is empty.

    The disk is a stack of horizontal runs. Rows widen from dy = radius to dy = 0, so each run's
    dilation is the one before, two shifts wider: about 4 * radius passes over the mask in all.

    Args:
        mask: (H, W) bool.
        radius: in pixels, >= 0.

    Returns:
        (H, W) bool, a new array.
    """
    height, width = mask.shape
    out = np.zeros_like(mask)
    widened, reach = mask.copy(), 0  # `mask` dilated by a horizontal run of 2 * reach + 1
    for dy in range(radius, -1, -1):
        half_width = math.isqrt(radius * radius - dy * dy)
        while reach < half_width:
            reach += 1
            if reach < width:
                widened[:, reach:] |= mask[:, :-reach]
                widened[:, :-reach] |= mask[:, reach:]
        if dy == 0:
            out |= widened
        elif dy < height:
            out[dy:] |= widened[:-dy]
            out[:-dy] |= widened[dy:]
    return out


# Moments


def moment_retrieval(
    predictions: Sequence[Sequence[Sequence[float]]],
    ground_truth: Sequence[Sequence[Sequence[float]]],
) -> dict[str, float]:
    """R1 and mAP of temporal windows, as moment_detr's standalone_eval computes them.

    R1@x: the share of queries whose first window overlaps some true window with IoU >= x. mAP:
    per query and IoU threshold the area under the interpolated precision-recall curve of its
    first ten windows, greedily matched in order of score; averaged over queries, then over the
    thresholds 0.5, 0.55, ..., 0.95.

    Args:
        predictions: per query the windows [start, end, score], best first.
        ground_truth: per query the windows [start, end]. A frame interval s..e is the window
            [s, e + 1]. Queries without any true window are left out. A query with truth and no
            prediction counts as missed (the reference cannot score it).

    Returns:
        {"R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75"}, in percent; NaN if no query is left.

    Raises:
        ValueError: the lists differ in length, or a window is not of the form above.
    """
    if len(predictions) != len(ground_truth):
        raise ValueError(f"{len(predictions)} predictions for {len(ground_truth)} queries")
    first_iou, precision = [], []
    for windows, truth in zip(predictions, ground_truth, strict=True):
        if len(truth) == 0:
            continue
        top = [(start, end, score) for start, end, score in windows[:MAX_WINDOWS]]
        top = np.array(top, dtype=float).reshape(-1, 3)
        truth = np.array([(start, end) for start, end in truth], dtype=float)
        first_iou.append(_best_iou(top[0, :2], truth) if len(top) else 0.0)
        ranked = top[np.argsort(-top[:, 2], kind="stable")]
        precision.append(_average_precision(window_ious(ranked[:, :2], truth)))
    if not first_iou:
        return dict.fromkeys(("R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75"), float("nan"))
    recall = {f"R1@{x}": np.mean(np.array(first_iou) >= x) for x in (0.5, 0.7)}
    by_threshold = np.array(precision).mean(axis=0)  # (10,)
    some = {f"mAP@{x}": by_threshold[RETRIEVAL_IOUS.index(x)] for x in (0.5, 0.75)}
    found = {**recall, "mAP": by_threshold.mean(), **some}
    return {key: 100 * float(value) for key, value in found.items()}


def window_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 2) and (M, 2) windows -> (N, M) IoU; 0 between windows of no length."""
    left = np.maximum(a[:, None, 0], b[None, :, 0])
    right = np.minimum(a[:, None, 1], b[None, :, 1])
    intersection = np.clip(right - left, 0, None)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _best_iou(window: np.ndarray, truth: np.ndarray) -> float:
    """IoU of one window (2,) with the one of (M, 2) true windows that it overlaps most."""
    start, end = truth[window_ious(window[None], truth)[0].argmax()]
    intersection = min(window[1], end) - max(window[0], start)
    # The reference divides by the span of both here and by the sum of lengths in mAP. It is the
    # same number, but for a rounding that decides at a threshold when times are fractions.
    span = max(window[1], end) - min(window[0], start)
    return intersection / span if intersection > 0 else 0.0


def _average_precision(ious: np.ndarray) -> np.ndarray:
    """Average precision of one query.

    Args:
        ious: (N, M) IoU of the N predicted windows, best first, with the M true ones.

    Returns:
        (10,) one value per threshold of RETRIEVAL_IOUS.
    """
    count, num_truth = ious.shape
    result = np.zeros(len(RETRIEVAL_IOUS))
    if count == 0:
        return result
    for k, threshold in enumerate(RETRIEVAL_IOUS):
        free = np.ones(num_truth, dtype=bool)
        hit = np.zeros(count)
        for n in range(count):
            # A window takes the true one that it overlaps most among those not yet taken.
            for m in np.argsort(ious[n], kind="stable")[::-1]:
                if free[m] and ious[n, m] >= threshold:
                    hit[n], free[m] = 1, False
                    break
        found = np.cumsum(hit)
        precision = found / np.arange(1, count + 1)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        result[k] = (hit * best_from_here).sum() / num_truth  # recall rises by 1 / M at each hit
    return result


def top1_accuracy(
    relevance: Sequence[np.ndarray], moments: Sequence[np.ndarray | Intervals]
) -> float:
    """The share of expressions whose highest-scored frame lies in M+.

    Args:
        relevance: per expression (T,) scores; among equals the first frame counts.
        moments: per expression M+, as (T,) bool or as (start, end) frame positions, inclusive.
            Expressions without any relevant frame are left out.

    Returns:
        Percent; NaN if no expression is left.

    Raises:
        ValueError: the lists differ in length, or a score array and its bool moments do.
    """
    if len(relevance) != len(moments):
        raise ValueError(f"{len(relevance)} score arrays for {len(moments)} expressions")
    hits = []
    for scores, moment in zip(relevance, moments, strict=True):
        if not (isinstance(moment, np.ndarray) and moment.dtype == bool):
            moment = inside(np.arange(len(scores)), moment)
        if moment.shape != (len(scores),):
            raise ValueError(f"M+ of shape {moment.shape} for {len(scores)} frames")
        if moment.any():
            hits.append(bool(moment[int(np.argmax(scores))]))
    return 100 * float(np.mean(hits)) if hits else float("nan")

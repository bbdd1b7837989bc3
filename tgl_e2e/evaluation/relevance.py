"""From the relevance of each frame to moments: ranked windows, as moment retrieval is scored with.

A moment is always a run of consecutive processed frames whose relevance reaches a threshold. At the
one threshold of the segmenter these runs are M+, which result.json lists as "moments"; here runs of
several thresholds are ranked against each other, so that a retriever's whole list can be scored.
"""

from __future__ import annotations

import numpy as np

from tgl_e2e.metrics import MAX_WINDOWS, window_ious
from tgl_e2e.moments import spans

# Where relevance_windows cuts: at fixed probabilities, and at shares of the range between the
# lowest and the highest score, so that a badly calibrated model gets windows too.
WINDOW_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WINDOW_RANGE_SHARES = (0.25, 0.5, 0.75)
MAX_OVERLAP = 0.8  # IoU of two windows that are both kept


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

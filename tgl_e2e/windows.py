"""How the frames of a block are dealt into the windows that temporal modules see at once."""

from __future__ import annotations

import numpy as np


def deal_windows(length: int, window: int) -> list[np.ndarray]:
    """Deals a block of ``length`` frames into windows of at most ``window`` frames.

    Every n-th frame goes into the same window, so that each window spans the whole block. The
    windows depend on the length alone.

    Returns:
        ceil(length / window) arrays of ascending positions in the block.
    """
    count = -(-length // window)
    return [np.arange(start, length, count) for start in range(count)]


def cut_windows(length: int, window: int) -> list[np.ndarray]:
    """Neighbouring frames into the same window; the last one may be short.

    Returns:
        ceil(length / window) arrays of ascending positions in the block.
    """
    return [np.arange(first, min(first + window, length)) for first in range(0, length, window)]


WINDOWS = {"dealt": deal_windows, "contiguous": cut_windows}

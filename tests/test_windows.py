"""Dealing the frames of a block into windows."""

import numpy as np
import pytest

from tgl_e2e.windows import deal_windows


@pytest.mark.parametrize(
    ("length", "window"), [(64, 8), (63, 8), (9, 8), (8, 8), (3, 8), (1, 8), (32, 1), (17, 6)]
)
def test_windows_share_out_all_frames(length, window):
    windows = deal_windows(length, window)
    assert sorted(np.concatenate(windows).tolist()) == list(range(length))
    assert len(windows) == -(-length // window)
    for dealt in windows:
        assert 1 <= len(dealt) <= window
        assert (np.diff(dealt) == len(windows)).all()  # even steps over the whole block
    sizes = [len(dealt) for dealt in windows]
    assert max(sizes) - min(sizes) <= 1


def test_a_window_spans_the_block():
    first, *_, last = deal_windows(64, 8)
    assert first.tolist() == list(range(0, 64, 8)) and last.tolist() == list(range(7, 64, 8))


def test_nothing_to_deal():
    assert deal_windows(0, 8) == []

"""Windows from relevance."""

import numpy as np
import pytest

from tgl_e2e.evaluation.scores import relevance_windows


def test_windows_of_clear_moments():
    relevance = np.full(40, 0.02)
    relevance[5:15] = 0.95
    relevance[30:34] = 0.9
    windows = relevance_windows(relevance)
    assert [w[:2] for w in windows[:2]] == [[5, 15], [30, 34]]
    assert windows[0][2] > windows[1][2] > 0
    exact = np.zeros(10)
    exact[3:6] = 1
    assert relevance_windows(exact)[0] == [3, 6, 1.0]


def test_windows_speak_frame_numbers():
    relevance = np.array([0, 1, 1, 0.0])
    assert relevance_windows(relevance, np.array([100, 110, 120, 130]))[0] == [110, 121, 1.0]


def test_a_lone_spike_does_not_outrank_a_moment():
    relevance = np.full(50, 0.05)
    relevance[10:25] = 0.8
    relevance[40] = 0.99
    assert relevance_windows(relevance)[0][:2] == [10, 25]


@pytest.mark.parametrize("seed", range(50))
def test_window_properties(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 80))
    relevance = 1 / (1 + np.exp(-rng.normal(rng.normal(), 3, length)))
    if rng.random() < 0.3:
        relevance *= 0.05  # nothing passes any fixed threshold
    windows = relevance_windows(relevance)
    assert 1 <= len(windows) <= 10
    scores = [w[2] for w in windows]
    assert scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1 + 1e-9
    for i, (start, end, score) in enumerate(windows):
        assert 0 <= start < end <= length
        inside = relevance[int(start) : int(end)].sum()
        assert score == pytest.approx(inside / (end - start + relevance.sum() - inside))
        for other in windows[:i]:
            shared = max(0, min(end, other[1]) - max(start, other[0]))
            assert shared / ((end - start) + (other[1] - other[0]) - shared) <= 0.8


def test_windows_of_constant_relevance_and_of_nothing():
    assert relevance_windows(np.full(7, 0.3))[0][:2] == [0, 7]
    assert relevance_windows(np.zeros(7)) == [[0, 7, 0.0]]
    assert relevance_windows(np.zeros(0)) == []
    with pytest.raises(ValueError):
        relevance_windows(np.zeros(3), np.arange(2))

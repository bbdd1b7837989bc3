"""How videos are dealt out to processes."""

import numpy as np
import pytest

from tgl_e2e.data.base import ExpressionRecord, VideoRecord
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.processes import join, on_main, share_out, work_of


def video(name, frames, expressions):
    records = tuple(ExpressionRecord(str(n), "text", None, None) for n in range(expressions))
    return VideoRecord(name, [None] * frames, records)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_video_once_in_order_and_balanced(count):
    rng = np.random.default_rng(count)
    videos = [video(str(n), int(rng.integers(10, 200)), int(rng.integers(1, 8))) for n in range(60)]
    shares = share_out(videos, count)
    assert len(shares) == count and shares == share_out(videos, count)
    assert sorted(int(v.name) for share in shares for v in share) == list(range(60))
    for share in shares:
        assert [int(v.name) for v in share] == sorted(int(v.name) for v in share)
    loads = [sum(work_of(v) for v in share) for share in shares]
    # The least loaded always takes the next one, so no two differ by more than one video.
    assert max(loads) - min(loads) <= max(work_of(v) for v in videos)
    assert max(loads) < 1.1 * sum(loads) / count


def test_more_processes_than_videos():
    shares = share_out([video("a", 5, 1)], 3)
    assert [len(share) for share in shares] == [1, 0, 0]
    assert share_out([], 2) == [[], []]


def test_one_process(monkeypatch):
    state, device = join("cpu")
    assert (state.process_index, state.num_processes, device) == (0, 1, "cpu")
    done = []
    on_main(state, lambda: done.append(1))
    assert done == [1]

    def fail():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        on_main(state, fail)
    with pytest.raises(InputError, match="--device cuda:77"):
        join("cuda:77")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="give auto or cpu"):
        join("cuda:0")

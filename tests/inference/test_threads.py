"""The threads of a CPU, shared between what may run side by side."""

import threading

import numpy as np
import pytest
import torch
from conftest import draw_frames
from networks import difference

from tgl_e2e import VideoSegmenter
from tgl_e2e.inference.device import share_threads


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_every_thread_has_work_and_none_is_left_to_one_small_layer(tiny, threads):
    threads(1)
    assert share_threads(tiny) is None
    for count in (2, 3, 4, 8, 16, 64):
        threads(count)
        share = share_threads(tiny)
        assert share.count == count
        assert 2 <= share.windows <= 4 and 1 <= share.masks <= count // 2


def test_large_pictures_fill_the_threads_by_themselves(hiera, threads, monkeypatch):
    threads(4)
    assert share_threads(hiera) is not None  # 256 pixels
    monkeypatch.setattr("tgl_e2e.inference.device.SMALL", 255)
    assert share_threads(hiera) is None


@pytest.mark.parametrize("moments", ["auto", "all"])
def test_side_by_side_changes_nothing(tiny, threads, monkeypatch, moments):
    clip = draw_frames(3, 128, 24).permute(0, 2, 3, 1).numpy()
    frames = np.concatenate([clip, clip[::-1]] * 4)[: 2 * tiny.config.block + 9]
    texts = ["the red circle", "the square that moves to the left"]
    found = []
    on, forward = set(), type(tiny.tam).forward

    def watched(*arguments):
        on.add(threading.current_thread().name.partition("_")[0])
        return forward(*arguments)

    monkeypatch.setattr(type(tiny.tam), "forward", watched)
    for count, where in ((1, {"MainThread"}), (2, {"side by side"})):
        threads(count)
        on.clear()
        segmenter = VideoSegmenter(tiny, keep_logits=True)
        found.append(segmenter.segment(frames, texts, moments))
        assert torch.get_num_threads() == count
        assert on == where
    for alone, beside in zip(*found, strict=True):
        assert difference(*(torch.from_numpy(s.relevance) for s in (alone, beside))) < 1e-5
        assert difference(*(torch.from_numpy(s.logits).float() for s in (alone, beside))) < 0.02
        assert alone.moments == beside.moments


def test_what_goes_wrong_beside_is_raised_and_threads_are_given_back(tiny, threads, monkeypatch):
    threads(2)
    frames = draw_frames(3, 128, 12).permute(0, 2, 3, 1).numpy()

    def broken(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(type(tiny.tam), "forward", broken)
    with pytest.raises(RuntimeError, match="no memory left"):
        VideoSegmenter(tiny).segment(frames, ["the red circle"])
    assert torch.get_num_threads() == 2

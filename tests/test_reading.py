"""Blocks of the grid, and reading ahead."""

import threading
import time

import numpy as np
import pytest

from tgl_e2e.reading import FRAMES_AHEAD, ahead, read_blocks
from tgl_e2e.video import open_video


def video(length: int) -> np.ndarray:
    return np.arange(length, dtype=np.uint8)[:, None, None, None].repeat(
        32, 1).repeat(32, 2).repeat(3, 3)


def test_blocks_of_the_grid_and_a_last_one_that_is_filled_up():
    steps = []
    blocks = list(read_blocks(open_video(video(21)), (0, None, 1), 8, 32, "reading",
                              lambda *step: steps.append(step)))
    assert [(b.index, b.first, len(b)) for b in blocks] == [(0, 0, 8), (8, 0, 8), (16, 3, 5)]
    assert blocks[2].numbers.tolist() == list(range(13, 21))
    assert all((b.images[:, 0, 0, 0].numpy() == b.numbers).all() for b in blocks)
    assert steps == [(0, 21, "reading"), (8, 21, "reading"), (16, 21, "reading"),
                     (21, 21, "reading")]


def test_items_come_in_order_and_are_made_on_another_thread():
    made_on = set()

    def items():
        for n in range(100):
            made_on.add(threading.current_thread())
            yield n

    assert list(ahead(items())) == list(range(100))
    assert threading.current_thread() not in made_on


def test_an_error_is_raised_where_the_items_are_used():
    def items():
        yield 1
        raise KeyError("broken")

    reader = ahead(items())
    assert next(reader) == 1
    with pytest.raises(KeyError, match="broken"):
        next(reader)


def test_not_more_is_read_than_may_wait_and_nothing_goes_on_afterwards():
    made = []

    def items():
        for n in range(1000):
            made.append(n)
            yield n

    before = threading.active_count()
    reader = ahead(items())
    assert next(reader) == 0
    deadline = time.monotonic() + 10
    while len(made) < FRAMES_AHEAD + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == FRAMES_AHEAD + 2  # one is used, one has no place yet
    reader.close()
    assert threading.active_count() == before

"""Blocks of the grid."""

import numpy as np

from tgl_e2e.inference.block_reader import read_blocks
from tgl_e2e.video.reader import open_video


def video(length: int) -> np.ndarray:
    return (
        np.arange(length, dtype=np.uint8)[:, None, None, None]
        .repeat(32, 1)
        .repeat(32, 2)
        .repeat(3, 3)
    )


def test_blocks_of_the_grid_and_a_last_one_that_is_filled_up():
    steps = []
    blocks = list(
        read_blocks(
            open_video(video(21)), (0, None, 1), 8, 32, "reading", lambda *step: steps.append(step)
        )
    )
    assert [(b.index, b.first, len(b)) for b in blocks] == [(0, 0, 8), (8, 0, 8), (16, 3, 5)]
    assert blocks[2].numbers.tolist() == list(range(13, 21))
    assert all((b.images[:, 0, 0, 0].numpy() == b.numbers).all() for b in blocks)
    assert steps == [
        (0, 21, "reading"),
        (8, 21, "reading"),
        (16, 21, "reading"),
        (21, 21, "reading"),
    ]

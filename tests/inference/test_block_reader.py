"""Blocks of a video."""

import numpy as np
import pytest

from tgl_e2e.fit import Fit
from tgl_e2e.inference.block_reader import read_blocks
from tgl_e2e.video.reader import open_video


def video(length: int) -> np.ndarray:
    return (
        np.arange(length, dtype=np.uint8)[:, None, None, None]
        .repeat(32, 1)
        .repeat(32, 2)
        .repeat(3, 3)
    )


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (5, [5]),
        (8, [8]),
        (9, [5, 4]),
        (16, [8, 8]),
        (17, [8, 5, 4]),
        (21, [8, 7, 6]),
        (24, [8, 8, 8]),
    ],
)
def test_the_last_blocks_are_of_equal_length(length, expected):
    steps = []
    blocks = list(
        read_blocks(
            open_video(video(length)),
            (0, None, 1),
            8,
            Fit(32),
            "reading",
            lambda *step: steps.append(step),
        )
    )
    assert [len(b) for b in blocks] == expected
    ends = np.cumsum(expected).tolist()
    assert [b.index for b in blocks] == [0, *ends[:-1]]
    assert np.concatenate([b.numbers for b in blocks]).tolist() == list(range(length))
    assert all((b.images[:, 0, 0, 0].numpy() == b.numbers).all() for b in blocks)
    assert steps == [(done, length, "reading") for done in (0, *ends)]

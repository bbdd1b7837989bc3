"""Reading of a video in blocks, ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.fit import Fit
from tgl_e2e.inference.prefetch import ahead
from tgl_e2e.video.source import VideoSource

Progress = Callable[[int, int | None, str], None]  # (frames done, frames in all, stage)

FRAMES_AHEAD = 16  # resized frames that wait for the network at most


@dataclass
class Block:
    """Frames that are processed together.

    numbers: original frame numbers; images: (n, 3, S, S) uint8; index: position of the first of
    them among all processed frames.
    """

    numbers: np.ndarray
    images: Tensor
    index: int

    def __len__(self) -> int:
        return len(self.numbers)


def read_blocks(
    source: VideoSource,
    frames: tuple[int, int | None, int],
    size: int,
    fit: Fit,
    stage: str,
    progress: Progress,
    even: bool = True,
) -> Iterator[Block]:
    """Blocks of ``size`` frames; what is left at the end, more than one and less than two of them,
    is two blocks of (nearly) equal length, so that the windows of the last one do not look at a few
    frames only. A shorter video is one block.

    Args:
        frames: start, end and stride.
        size: frames of a block.
        even: False: all blocks are of ``size`` but for the last.
    """
    start, end, stride = frames
    reader = source.frames(start, end, stride)  # checks the range
    hint, total = source.num_frames or source.num_frames_hint, None
    if hint is not None:
        total = len(range(start, hint if end is None else min(end, hint), stride))
    progress(0, total, stage)
    done = 0
    waiting: list[tuple[int, Tensor]] = []
    resized = ((number, fit.shrink(rgb)) for number, rgb in reader)
    for item in ahead(resized, FRAMES_AHEAD):
        waiting.append(item)
        if len(waiting) == 2 * size:
            yield _block(waiting[:size], done)
            done, waiting = done + size, waiting[size:]
            progress(done, total, stage)
    half = min(size, len(waiting))
    if even and len(waiting) > size:
        half = -(-len(waiting) // 2)
    total = done + len(waiting)  # a file's length is known once it is read
    for part in (waiting[:half], waiting[half:]):
        if part:
            yield _block(part, done)
            done += len(part)
            progress(done, total, stage)


def _block(frames: list[tuple[int, Tensor]], index: int) -> Block:
    numbers, images = zip(*frames, strict=True)
    return Block(np.array(numbers), torch.stack(images), index)

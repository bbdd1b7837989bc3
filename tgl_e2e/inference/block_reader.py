"""Reading of a video in the blocks of a fixed grid, ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tgl_e2e.inference.prefetch import ahead
from tgl_e2e.video.source import VideoSource

Progress = Callable[[int, int | None, str], None]  # (frames done, frames in all, stage)

FRAMES_AHEAD = 16  # resized frames that wait for the network at most


@dataclass
class Block:
    """Frames that are processed together.

    numbers: original frame numbers; images: (n, 3, S, S) uint8; first: frames before this position
    are there for their context alone (they belong to the block before); index: position of
    ``numbers[first]`` among all processed frames.
    """

    numbers: np.ndarray
    images: Tensor
    first: int
    index: int

    def __len__(self) -> int:
        """The block's own frames, context not counted."""
        return len(self.numbers) - self.first


def read_blocks(
    source: VideoSource,
    frames: tuple[int, int | None, int],
    size: int,
    side: int,
    stage: str,
    progress: Progress,
) -> Iterator[Block]:
    """The blocks of the grid. The last one is filled up from the frames before it, so that its
    windows span as much time as all others do.

    Args:
        frames: start, end and stride.
        size: frames of a block; side: S that frames are resized to.
    """
    start, end, stride = frames
    reader = source.frames(start, end, stride)  # checks the range
    hint, total = source.num_frames or source.num_frames_hint, None
    if hint is not None:
        total = len(range(start, hint if end is None else min(end, hint), stride))
    progress(0, total, stage)
    index = 0
    before: list[tuple[int, Tensor]] = []
    current: list[tuple[int, Tensor]] = []
    resized = ((number, shrink(rgb, side)) for number, rgb in reader)
    for item in ahead(resized, FRAMES_AHEAD):
        current.append(item)
        if len(current) == size:
            yield _block(current, 0, index)
            index += size
            before, current = current, []
            progress(index, total, stage)
    if current:
        context = before[len(current) :]
        yield _block(context + current, len(context), index)
        progress(index + len(current), index + len(current), stage)


def _block(frames: list[tuple[int, Tensor]], first: int, index: int) -> Block:
    return Block(
        np.array([number for number, _ in frames]),
        torch.stack([image for _, image in frames]),
        first,
        index,
    )


def shrink(rgb: np.ndarray, side: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, S, S) uint8"""
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)
    if image.shape[-2:] == (side, side):
        return image
    resized = F.interpolate(image[None].float(), size=(side, side), mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)

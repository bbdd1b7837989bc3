"""What every video can be asked for, and one of its frames."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tgl_e2e.errors import InputError

DEFAULT_FPS = 24.0  # of folders and arrays, which do not say: the rate of cinema


class VideoWarning(UserWarning):
    """The video could not be read as it should: something is missing from what was read."""


@dataclass(frozen=True)
class Frame:
    """One frame: its number in the original video, its time in seconds, rgb (H, W, 3) uint8."""

    number: int
    time: float
    rgb: np.ndarray


class VideoSource(ABC):
    """A video that can be read any number of times, from the first frame on.

    name: for output folders; fps: the average rate; size: (H, W) as displayed, rotation applied;
    num_frames: None as long as it is not known for certain (a file has to be read to its end);
    num_frames_hint: what the container claims, for a progress bar and nothing else;
    pixel_aspect: width of a pixel by its height.
    """

    name: str
    fps: float
    size: tuple[int, int]
    num_frames: int | None = None
    num_frames_hint: int | None = None
    pixel_aspect: Fraction = Fraction(1)

    def frames(
        self, start: int = 0, end: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Pairs (original frame number, rgb (H, W, 3) uint8) of frames start, start + stride, ...
        below end. InputError if the range is invalid or holds no frame."""
        return ((f.number, f.rgb) for f in self.timed_frames(start, end, stride))

    def timed_frames(
        self, start: int = 0, end: int | None = None, stride: int = 1
    ) -> Iterator[Frame]:
        """As `frames`, with each frame's own timestamp."""
        try:
            start, stride = operator.index(start), operator.index(stride)
            end = None if end is None else operator.index(end)
        except TypeError:
            raise InputError(f"start {start}, end {end}, stride {stride}: give integers") from None
        if start < 0:
            raise InputError(f"start {start}: the first frame is number 0, give 0 or more")
        if stride < 1:
            raise InputError(f"stride {stride}: give 1 (every frame) or more")
        if end is not None and end <= start:
            raise InputError(f"end {end}: it is exclusive, give a number above start ({start})")
        if self.num_frames is not None:
            self._check_start(start, self.num_frames)
        return self._read(start, end, stride)

    def _check_start(self, start: int, num_frames: int) -> None:
        if start >= num_frames:
            raise InputError(
                f"start {start}: '{self.name}' ends with frame {num_frames - 1}, "
                f"start there or before"
            )

    @abstractmethod
    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]: ...

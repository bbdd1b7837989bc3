"""What all data sets of videos with expressions have in common, once they are read.

Frames are counted by their position in the video, from 0; moments are (first, last) positions,
inclusive. Nothing here reads a mask or a frame before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from tgl_e2e.errors import InputError
from tgl_e2e.moments import inside, spans

Span = tuple[int, int]
ANY_OBJECT = "*"  # stands for the union where moments are not known object by object


class MaskReader(Protocol):
    """The masks of one expression's objects, read when asked for."""

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        """(H, W) bool: the union of these objects in one frame; of none: empty."""
        ...

    def visible(self, obj: str) -> np.ndarray:
        """(T,) bool: the frames in which an object has a mask."""
        ...

    def appears(self, obj: str) -> bool:
        """Whether an object has a mask in any frame, found out as cheaply as can be."""
        return bool(self.visible(obj).any())


@dataclass(frozen=True, slots=True)
class ExpressionRecord:
    """A sentence about a video, with what is known of its target.

    id: unique in its video; texts are not.
    objects: the objects meant; () for an expression without target, None if not known.
    moments: per object the spans of frames in which it shows what the text says; under
        ANY_OBJECT alone where only the union is known; None if not known.
    masks: None for a split without masks.
    annotation: where a data set describes each object several times over (Ref-DAVIS17: four
        times), which of these descriptions this is, from 0; None elsewhere.
    """

    id: str
    text: str
    objects: tuple[str, ...] | None
    moments: Mapping[str, Sequence[Span]] | None
    masks: MaskReader | None = None
    annotation: int | None = None

    @property
    def no_target(self) -> bool:
        """Whether it is known that the text speaks of nothing in the video."""
        if self.objects is not None:
            return not self.objects
        return self.moments is not None and not any(self.moments.values())

    def relevant(self, num_frames: int) -> np.ndarray | None:
        """M+ as (T,) bool, the union over objects; None if the moments are not known."""
        if self.moments is None:
            return None
        together = [span for object_spans in self.moments.values() for span in object_spans]
        return inside(np.arange(num_frames), together)

    def intervals(self, num_frames: int) -> list[Span] | None:
        """M+ as disjoint ascending spans; None if the moments are not known."""
        relevant = self.relevant(num_frames)
        return None if relevant is None else spans(np.arange(num_frames), relevant)

    def mask(self, position: int) -> np.ndarray | None:
        """(H, W) bool: the union of the objects in one frame; None in a split without masks."""
        if self.masks is None:
            return None
        return self.masks.read(self.objects or (), position)


@dataclass(frozen=True, slots=True, eq=False)
class VisibleMoments(Mapping):
    """Moments for want of annotated ones: the frames in which an object has a mask.

    Looked up when asked for, since masks may lie in a picture per frame.
    """

    masks: MaskReader
    objects: tuple[str, ...]

    def __getitem__(self, obj: str) -> tuple[Span, ...]:
        if obj not in self.objects:
            raise KeyError(obj)
        visible = self.masks.visible(obj)
        return tuple(spans(np.arange(len(visible)), visible))

    def __iter__(self) -> Iterator[str]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)


class Frames(Sequence):
    """Paths of a video's frames, made when indexed.

    A data set has hundreds of thousands of frames, and a worker process that reads a Python object
    gets its own copy of it (reference counts are written). So a video's names are one array here.
    """

    __slots__ = ("_folder", "_names", "_suffix")

    def __init__(self, folder: Path, names: Sequence[str], suffix: str = ".jpg"):
        self._folder = folder
        self._names = np.array(names, dtype=str)
        self._suffix = suffix

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: int | slice) -> Path | tuple[Path, ...]:
        if isinstance(position, slice):
            return tuple(self)[position]
        return self._folder / f"{self._names[position]}{self._suffix}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    @property
    def names(self) -> list[str]:
        """The frames' names without folder and suffix."""
        return self._names.tolist()


class Pictures(Sequence):
    """A video's frames as a sequence of PIL images (RGB), each read when indexed."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Image.Image:
        return open_picture(self.paths[position], "frame").convert("RGB")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """A video as a list of pictures. name: unique in its split; frames: in order of time."""

    name: str
    frames: Sequence[Path]
    expressions: Sequence[ExpressionRecord]

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def pictures(self) -> Pictures:
        """The frames themselves: just these, whatever else lies in their folder."""
        return Pictures(self.frames)

    def size(self) -> tuple[int, int]:
        """(H, W) of the first frame, from its header."""
        return picture_size(self.frames[0])


@dataclass(frozen=True)
class VideoDataset:
    """One split of a data set. kind: its name on the command line; root: the folder given."""

    kind: str
    root: Path
    split: str
    videos: tuple[VideoRecord, ...]

    @property
    def num_expressions(self) -> int:
        return sum(len(video.expressions) for video in self.videos)

    def video(self, name: str) -> VideoRecord:
        """One video by its name; InputError if there is none."""
        for video in self.videos:
            if video.name == name:
                return video
        some = ", ".join(video.name for video in self.videos[:3])
        raise InputError(
            f"{self.root}: split {self.split} has no video '{name}'; it has {some}, ..."
        )


def open_picture(path: Path, what: str) -> Image.Image:
    """A picture, decoded; InputError if it cannot be.

    what: it is, for the message.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}, get the whole data set") from None
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"{path}: a damaged picture, restore it") from None


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture, from its header alone; InputError if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"{path}: not a readable picture, restore it") from None

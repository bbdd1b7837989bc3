"""The data set that is annotated: its splits in the layout of MeViS, frames and masks."""

from __future__ import annotations

import io
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from tgl_e2e.app.store import Store
from tgl_e2e.data.annotated import Unfinished
from tgl_e2e.data.base import ANY_OBJECT, ExpressionRecord, VideoRecord, VisibleMoments
from tgl_e2e.data.mevis import META_NAMES, read_mevis
from tgl_e2e.draw.overlay import colour, shrunk
from tgl_e2e.errors import InputError

FILL = 110  # opacity of a mask's inside, of 255
MOST = 126  # objects that a palette has colours for
PICTURE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class Split:
    """One split that is open for annotation."""

    name: str
    root: Path
    videos: dict[str, VideoRecord]
    store: Store

    def video(self, name: str) -> VideoRecord:
        if name not in self.videos:
            raise InputError(f"{self.name}: no video {name}")
        return self.videos[name]

    def expression(self, video: str, key: str) -> ExpressionRecord:
        for expression in self.video(video).expressions:
            if expression.id == key:
                return expression
        raise InputError(f"{self.name}: video {video} has no expression {key}")

    def frame(self, video: str, position: int) -> tuple[Path, str]:
        """A frame's file, and its media type; InputError if it lies elsewhere (by a link)."""
        frames = self.video(video).frames
        if not 0 <= position < len(frames):
            raise InputError(f"video {video} has {len(frames)} frames, none is number {position}")
        path = frames[position].resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise InputError(f"video {video}: frame {position} is a link out of the data set")
        if not path.is_file():
            raise InputError(f"video {video}: frame {position} is not there, get the whole set")
        return path, PICTURE_TYPES.get(path.suffix.lower(), "image/webp")


class Library:
    """A context manager over the data set's root; splits are opened when they are asked for."""

    def __init__(self, root: Path):
        self.root = root
        self._open: dict[str, Split] = {}
        self._mutex = threading.Lock()
        self._exit = ExitStack()

    def __enter__(self) -> Library:
        if not self.splits:
            raise InputError(
                f"{self.root}: no data set in the layout of MeViS (DIR/<split>/"
                "meta_expressions.json and JPEGImages); give its root"
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    @cached_property
    def splits(self) -> list[str]:
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder, give the root of a data set")
        folders = (path for path in sorted(self.root.iterdir()) if path.is_dir())
        return [path.name for path in folders if any((path / m).exists() for m in META_NAMES)]

    def split(self, name: str) -> Split:
        """Opens a split, or finds it open; InputError as the reader and the store have it."""
        if name not in self.splits:
            raise InputError(f"no split {name}")
        with self._mutex:
            if name not in self._open:
                dataset = read_mevis(self.root, name, faults=Unfinished())
                store = self._exit.enter_context(Store(self.root / name))
                videos = {video.name: video for video in dataset.videos}
                self._open[name] = Split(name, self.root, videos, store)
            return self._open[name]


def objects_of(expression: ExpressionRecord) -> tuple[str, ...]:
    """The objects whose moments are annotated; the union where they are not known."""
    return (ANY_OBJECT,) if expression.objects is None else expression.objects


def visible_spans(expression: ExpressionRecord) -> dict[str, list[tuple[int, int]]]:
    """Object -> the frames in which it has a mask; without masks: nothing."""
    if expression.masks is None:
        return {}
    visible = VisibleMoments(expression.masks, expression.objects or ())
    return {obj: list(frames) for obj, frames in visible.items()}


def masks_png(expression: ExpressionRecord, position: int) -> bytes:
    """The objects' masks in one frame: a PNG that is transparent but for them, each in its colour
    with a contour. Of a split without masks: one transparent pixel."""
    objects = expression.objects if expression.masks is not None else None
    masks = [expression.masks.read((obj,), position) for obj in objects or ()]
    shape = masks[0].shape if masks else (1, 1)
    drawn = np.zeros(shape, np.uint8)
    # 0 is transparent, 1 white around objects; object n is 2 + 2n inside and 3 + 2n on its contour.
    for n, mask in enumerate(masks[:MOST]):
        inner = shrunk(mask, max(1, round(min(shape) / 240)))
        drawn[~shrunk(~mask, 1) & ~mask & (drawn == 0)] = 1
        drawn[mask] = 2 + 2 * n
        drawn[mask & ~inner] = 3 + 2 * n
    image = Image.fromarray(drawn, "P")
    colours = [value for n in range(len(masks[:MOST])) for value in colour(n) * 2]
    image.putpalette([0, 0, 0, 255, 255, 255, *colours])
    alpha = bytes([0, 200] + [FILL, 255] * len(masks[:MOST]))
    file = io.BytesIO()
    image.save(file, "PNG", transparency=alpha, compress_level=1)
    return file.getvalue()

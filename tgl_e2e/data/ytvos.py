"""Reader of the Ref-YouTube-VOS layout, into which Ref-DAVIS17 is commonly converted too.

    <root>/meta_expressions/<split>/meta_expressions.json   {"videos": {video: {"frames": [...],
        "expressions": {id: {"exp": text, "obj_id": "1"}}}}}; obj_id in `train` alone
    <root>/meta_expressions/<split>/moments.json            optional, see `MomentsFile`
    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/Annotations/<video>/<frame>.png          palette: a pixel's value is its object

The target is where the annotation equals obj_id. The file of `valid` lists the videos of `test`
too; where that of `test` is there, its videos are left out of `valid`, as on the server.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tgl_e2e.data.base import (
    ExpressionRecord,
    Frames,
    VideoDataset,
    VideoRecord,
    VisibleMoments,
    picture_size,
)
from tgl_e2e.data.files import MOMENTS_NAME, MomentsFile, read_frames_and_expressions, read_videos
from tgl_e2e.errors import InputError

LOGGER = logging.getLogger(__name__)
MAX_OBJECT = 255  # a palette has 256 entries, and 0 is the background

# Place of an expression in its video and its entry -> which of an object's descriptions it is.
Annotation = Callable[[int, Mapping[str, Any]], int | None]


class PaletteMasks:
    """Masks of one video, a palette PNG per frame, opened when asked for (a `MaskReader`)."""

    __slots__ = ("_present", "annotations")

    def __init__(self, annotations: Frames):
        self.annotations = annotations
        self._present: np.ndarray | None = None

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if not 0 <= position < len(self.annotations):
            raise IndexError(f"frame {position} of a video of {len(self.annotations)} frames")
        path = self.annotations[position]
        if not objects:
            return np.zeros(picture_size(path), dtype=bool)
        with open_palette(path) as picture:
            ids = np.asarray(picture)
        wanted = np.zeros(MAX_OBJECT + 1, dtype=bool)
        wanted[[int(obj) for obj in objects]] = True
        return wanted[ids]

    def visible(self, obj: str) -> np.ndarray:
        """(T,) bool. The first call opens every annotation of the video, once for all objects."""
        if self._present is None:
            present = np.zeros((len(self.annotations), MAX_OBJECT + 1), dtype=bool)
            for row, path in zip(present, self.annotations, strict=True):
                with open_palette(path) as picture:
                    row[:] = np.asarray(picture.histogram()) > 0
            self._present = np.packbits(present, axis=1)  # kept: 32 bytes a frame
        byte, bit = divmod(int(obj), 8)
        return (self._present[:, byte] >> (7 - bit) & 1).astype(bool)

    def appears(self, obj: str) -> bool:
        """Opens annotations up to the first with the object, most often the first of all."""
        if self._present is not None:
            return bool(self.visible(obj).any())
        return any(self.read((obj,), t).any() for t in range(len(self.annotations)))


def open_palette(path: Path) -> Image.Image:
    """An annotation whose pixels are object ids, decoded; InputError if it is none."""
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such annotation, get the whole data set") from None
    except (OSError, SyntaxError, ValueError):
        raise InputError(f"{path}: a damaged picture, restore it") from None
    if picture.mode not in ("P", "L"):
        raise InputError(
            f"{path}: a picture of mode {picture.mode}, annotations have a palette "
            f"(mode P): restore the original file"
        )
    return picture


def read_ytvos(root: str | Path, split: str) -> VideoDataset:
    """Reads one split of Ref-YouTube-VOS, see `read_palette_videos`."""
    return read_palette_videos(root, split, "ref-youtube-vos", lambda place, expression: None)


def read_palette_videos(
    root: str | Path, split: str, kind: str, annotation: Annotation
) -> VideoDataset:
    """Reads one split: names, texts and moments, no frame and no mask.

    Without moments.json, in a split that has annotations, an object's moments are the frames in
    which it is seen (a warning says so). To know them every annotation of the video is opened, once
    in a process and not before moments are asked for.

    Raises:
        InputError: a folder or file is missing or not of the layout above.
    """
    root = Path(root)
    meta_path = expressions_path(root, split)
    meta = read_videos(meta_path)
    frames_root = root / split / "JPEGImages"
    if not frames_root.is_dir():
        raise InputError(f"{frames_root}: no such folder, the frames of the split belong there")
    if split == "valid":
        meta = without_test(meta, root)
    annotations_root = root / split / "Annotations"
    has_masks = annotations_root.is_dir()
    moments_path = meta_path.parent / MOMENTS_NAME
    moments = MomentsFile(moments_path) if moments_path.exists() else None
    videos = []
    for name, entry in meta.items():
        if split == "valid" and not (frames_root / name).is_dir():
            raise InputError(
                f"{frames_root / name}: no such folder; the file of valid lists the videos of test "
                f"too: put {expressions_path(root, 'test')} there, and they are left out"
            )
        frames, expressions = read_frames_and_expressions(
            name, entry, frames_root / name, meta_path
        )
        masks = None
        if has_masks:
            masks = PaletteMasks(Frames(annotations_root / name, frames.names, ".png"))
        records = []
        for place, (key, expression) in enumerate(expressions.items()):
            where = f"{meta_path}: video {name}, expression {key}"
            objects, known = _objects(expression, where), None
            its_masks = None if objects is None else masks
            if moments is not None:
                known = moments.per_object(name, key, len(frames), objects)
            elif its_masks is not None:
                known = VisibleMoments(its_masks, objects)
            which = annotation(place, expression)
            records.append(
                ExpressionRecord(key, expression["exp"], objects, known, its_masks, which)
            )
        videos.append(VideoRecord(name, frames, tuple(records)))
    if moments is None:
        masked = any(e.masks is not None for video in videos for e in video.expressions)
        LOGGER.warning(
            "%s is missing: %s",
            moments_path,
            "every frame in which an object is seen counts as its moment, and all annotations are "
            "opened to know them; python -m tgl_e2e.data.moments from-masks writes the file once"
            if masked
            else "moments are not known",
        )
    return VideoDataset(kind, root, split, tuple(videos))


def expressions_path(root: Path, split: str) -> Path:
    """Where the expressions of a split are."""
    return root / "meta_expressions" / split / "meta_expressions.json"


def without_test(meta: dict[str, Any], root: Path) -> dict[str, Any]:
    """The videos of `valid` that are not of `test`, if it is known which these are."""
    test_path = expressions_path(root, "test")
    if not test_path.exists():
        return meta
    test = read_videos(test_path)
    return {name: entry for name, entry in meta.items() if name not in test}


def _objects(expression: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    if "obj_id" not in expression:
        return None
    obj = str(expression["obj_id"])
    if not obj.isdecimal() or not 1 <= int(obj) <= MAX_OBJECT:
        raise InputError(
            f"{where}: obj_id should be a number from 1 to {MAX_OBJECT}, the value of "
            f"the object's pixels; get the file again"
        )
    return (obj,)

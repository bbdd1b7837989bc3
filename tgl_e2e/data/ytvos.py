"""Reader of the Ref-YouTube-VOS layout, into which Ref-DAVIS17 is commonly converted too.

    <root>/meta_expressions/<split>/meta_expressions.json   {"videos": {video: {"frames": [...],
        "expressions": {id: {"exp": text, "obj_id": "1"}}}}}; obj_id in `train` alone
    <root>/meta_expressions/<split>/moments.json            optional, see `moments_json`
    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/Annotations/<video>/<frame>.png          palette: a pixel's value is its object

The target is where the annotation equals obj_id. The file of `valid` lists the videos of `test`
too; where that of `test` is there, its videos are left out of `valid`, as on the server.

Ref-DAVIS17 describes each object of a video four times, and the expressions stand in the order
object * 4 + annotation: annotator 1 of the first frame, annotator 1 of the whole video, annotator
2 of the first frame, annotator 2 of the whole video. An `ExpressionRecord` says both: `objects`
holds the object (the value of its pixels), `annotation` is 0 to 3. A score is taken per annotation,
of all objects together, and the four are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tgl_e2e.data.base import (
    Frames,
    MaskReader,
    VideoDataset,
    VideoRecord,
    open_picture,
    picture_size,
)
from tgl_e2e.data.faults import DAMAGED, OBJECT_IDS, STRICT, Faults, Findings, Kind
from tgl_e2e.data.listed import read_listed, read_records
from tgl_e2e.errors import InputError

MAX_OBJECT = 255  # a palette has 256 entries, and 0 is the background
VOID = 255  # of DAVIS: pixels that are not judged
ANNOTATIONS = 4  # of each object in Ref-DAVIS17

ALL_VIDEOS = Kind(
    "no such folder, the file of valid lists the videos of test too",
    "put meta_expressions.json of test beside it, and they are left out",
)
NO_ANNOTATION = Kind("frames without an annotation", "extract Annotations again, all of it")
SIZE = Kind("annotations that differ in size from their picture", "use those of one release")
NEVER_SEEN = Kind("objects that no annotation of the video shows", "use files of one release")
OF_TEST = Kind("videos of test that valid lists too, and that are not read")
FOUR = Kind(
    "videos in which four expressions in a row do not speak of one object",
    "convert the data set again: the order is object * 4 + annotation",
)


class PaletteMasks(MaskReader):
    """Masks of one video, a palette PNG per frame, opened when asked for."""

    __slots__ = ("_present", "annotations")

    def __init__(self, annotations: Frames):
        self.annotations = annotations
        self._present: np.ndarray | None = None

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        path = self.annotations[position]
        if not objects:
            return np.zeros(picture_size(path), dtype=bool)
        return np.isin(np.asarray(open_palette(path)), [int(obj) for obj in objects])

    def visible(self, obj: str) -> np.ndarray:
        """(T,) bool. The first call opens every annotation of the video, once for all objects."""
        return self.values()[:, int(obj)]

    def values(self, size: tuple[int, int] | None = None, faults: Faults = STRICT) -> np.ndarray:
        """(T, 256) bool: which values, objects among them, each frame's annotation has.

        size: (H, W) that annotations should have; None: not looked at.
        """
        if self._present is None:
            present = np.zeros((len(self.annotations), MAX_OBJECT + 1), dtype=bool)
            for row, path in zip(present, self.annotations, strict=True):
                try:
                    picture = open_palette(path)
                except InputError as error:
                    faults.caught(DAMAGED if path.exists() else NO_ANNOTATION, error)
                    continue
                row[:] = np.asarray(picture.histogram()) > 0
                if size not in (None, (picture.height, picture.width)):
                    detail = f"{[picture.height, picture.width]}, the picture {list(size)}"
                    faults.error(SIZE, path, "", detail)
            self._present = np.packbits(present, axis=1)  # kept: 32 bytes a frame
        return np.unpackbits(self._present, axis=1).astype(bool)

    def appears(self, obj: str) -> bool:
        """Opens annotations up to the first with the object, most often the first of all."""
        if self._present is not None:
            return bool(self.visible(obj).any())
        return any(self.read((obj,), t).any() for t in range(len(self.annotations)))


def open_palette(path: Path) -> Image.Image:
    """An annotation whose pixels are object ids, decoded; InputError if it is none."""
    picture = open_picture(path, "annotation")
    if picture.mode not in ("P", "L"):
        raise InputError(
            f"{path}: a picture of mode {picture.mode}, annotations have a palette "
            f"(mode P): restore the original file"
        )
    return picture


def read_ytvos(
    root: str | Path,
    split: str,
    kind: str = "ref-youtube-vos",
    faults: Faults = STRICT,
    moments: Path | None = None,
    masks: bool = True,
) -> VideoDataset:
    """Reads one split: names, texts and moments, no frame and no mask.

    Without moments.json, in a split that has annotations, an object's moments are the frames in
    which it is seen (a warning says so). To know them every annotation of the video is opened, once
    in a process and not before moments are asked for.

    Args:
        moments: to be read in place of the split's moments.json.
        masks: whether they are wanted.

    Raises:
        InputError: a file is missing or (with strict faults) not of the layout above.
    """
    root = Path(root)
    path, test_path = (
        root / "meta_expressions" / one / "meta_expressions.json" for one in (split, "test")
    )
    frames_root, masks_root = root / split / "JPEGImages", root / split / "Annotations"
    listed = read_listed(path)
    if split == "valid":
        of_test = read_listed(test_path) if test_path.exists() else {}
        for name in sorted(listed.keys() & of_test):
            faults.warn(OF_TEST, path, name)
        listed = {name: entry for name, entry in listed.items() if name not in of_test}
        for name in listed if not of_test and frames_root.is_dir() else ():
            if not (frames_root / name).is_dir():
                faults.error(ALL_VIDEOS, frames_root / name)
    has_masks, masks_of = masks and masks_root.is_dir(), {}

    def target_of(expression: Mapping[str, Any], frames: Frames, place: str):
        if "obj_id" not in expression:
            return None, None
        obj = str(expression["obj_id"])
        if not obj.isdecimal() or not 1 <= int(obj) <= MAX_OBJECT:
            detail = f"obj_id {obj}, a number from 1 to {MAX_OBJECT} is expected"
            faults.error(OBJECT_IDS, path, place, detail)
            return (obj,), None
        folder = masks_root / frames[0].parent.name
        if has_masks and folder not in masks_of:
            masks_of[folder] = PaletteMasks(Frames(folder, frames.names, ".png"))
        return (obj,), masks_of.get(folder)

    cost = (
        ", and all annotations are opened to know them; python -m tgl_e2e.data.moments from-masks "
        "writes the file once"
    )
    belong = masks_root if masks else None
    videos = read_records(listed, path, frames_root, target_of, faults, moments, belong, cost)
    return VideoDataset(kind, root, split, videos)


def read_davis(
    root: str | Path,
    split: str,
    kind: str = "ref-davis",
    faults: Faults = STRICT,
    moments: Path | None = None,
    masks: bool = True,
) -> VideoDataset:
    """Reads one split (`train`, `valid`) of Ref-DAVIS17, see :func:`read_ytvos`."""
    dataset, videos = read_ytvos(root, split, kind, faults, moments, masks), []
    for video in dataset.videos:
        ids = [e.objects[0] for e in video.expressions if e.objects]
        groups = [set(ids[i : i + ANNOTATIONS]) for i in range(0, len(ids), ANNOTATIONS)]
        if len(ids) % ANNOTATIONS or any(len(group) > 1 for group in groups):
            faults.warn(FOUR, dataset.root, f"video {video.name}", f"objects {', '.join(ids)}")
        expressions = [
            replace(e, annotation=n % ANNOTATIONS) for n, e in enumerate(video.expressions)
        ]
        videos.append(replace(video, expressions=tuple(expressions)))
    return replace(dataset, videos=tuple(videos))


def examine(video: VideoRecord, size: tuple[int, int] | None, findings: Findings) -> None:
    """Opens every annotation of a video.

    size: (H, W) of its pictures, None if none can be read.
    """
    speaking = [e for e in video.expressions if e.masks is not None]
    if not speaking:  # as in `valid`, which may hold first frames for another task
        return
    values = speaking[0].masks.values(size, findings)
    named = {int(obj) for e in speaking for obj in e.objects}
    void = [] if VOID in named else [VOID]  # where it means nothing, it is no object
    findings.masks += int(np.delete(values, [0, *void], axis=1).sum())
    for expression in speaking:
        (obj,) = expression.objects
        if not values[:, int(obj)].any():
            place = f"video {video.name}, expression {expression.id}, object {obj}"
            findings.error(NEVER_SEEN, speaking[0].masks.annotations[0].parent, place)

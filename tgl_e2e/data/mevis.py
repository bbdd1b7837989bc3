"""Reader of the MeViS layout, which the synthetic `motion` set is written in too.

    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/meta_expressions.json   {"videos": {video: {"frames": [...], "expressions":
        {id: {"exp": text, "obj_id": [...], "anno_id": [...]}}}}}
    <root>/<split>/mask_dict.json          {anno_id: [null or COCO RLE per frame]}; not in `valid`
    <root>/<split>/moments.json            ours, see `MomentsFile`, since MeViS has no moments

MeViS v2 calls its expressions meta_expressions_v2.json (and meta_expressions_v2_release.json in
`valid`, without obj_id and anno_id). The target is the union over `anno_id`; empty lists mean that
the text has no target (MeViS v2). Fields beyond these are left alone.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tgl_e2e.data.base import (
    ExpressionRecord,
    Frames,
    VideoDataset,
    VideoRecord,
    VisibleMoments,
    picture_size,
)
from tgl_e2e.data.files import MOMENTS_NAME, MomentsFile, read_frames_and_expressions, read_videos
from tgl_e2e.data.mask_file import MaskFile
from tgl_e2e.data.rle import area
from tgl_e2e.errors import InputError

__all__ = ["MomentsFile", "RLEMasks", "find_expressions", "read_mevis"]

LOGGER = logging.getLogger(__name__)
META_NAMES = (
    "meta_expressions.json",
    "meta_expressions_v2.json",
    "meta_expressions_v2_release.json",
)


@dataclass(frozen=True, slots=True)
class RLEMasks:
    """Masks of one expression, decoded when asked for (a `MaskReader`).

    file: holds the masks of all expressions.
    tracks: (object, number of its first mask in the file), once per annotation.
    frames: of the video; the first one says how large an empty mask is.
    """

    file: MaskFile
    tracks: tuple[tuple[str, int], ...]
    frames: Frames

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if not 0 <= position < len(self.frames):
            raise IndexError(f"frame {position} of a video of {len(self.frames)} frames")
        union = np.zeros(picture_size(self.frames[0]), dtype=bool)
        for first in (first for obj in objects for first in self._of(obj)):
            rle = self.file.rle(first + position)
            if rle is not None:
                union |= self._decode(rle, position, union.shape)
        return union

    def _decode(self, rle: dict, position: int, size: tuple[int, int]) -> np.ndarray:
        try:
            area(rle, size)  # pycocotools does not notice all damage, and may hang or crash by it
        except ValueError as error:
            raise InputError(
                f"{self.file.path}: a mask of {self.frames[position]} is damaged: {error}; "
                f"python -m tgl_e2e.data.check names all of them"
            ) from None
        return coco_mask.decode(rle).astype(bool)

    def visible(self, obj: str) -> np.ndarray:
        present = np.zeros(len(self.frames), dtype=bool)
        for first in self._of(obj):
            present |= self.file.present(first, len(self.frames))
        return present

    def appears(self, obj: str) -> bool:
        return bool(self.visible(obj).any())

    def _of(self, obj: str) -> list[int]:
        found = [first for name, first in self.tracks if name == obj]
        if not found:
            raise KeyError(obj)
        return found


def read_mevis(
    root: str | Path, split: str, kind: str = "mevis", annotated: bool = True
) -> VideoDataset:
    """Reads one split: names, texts, the places of the masks, and moments; no frame and no mask.

    annotated: False: without moments.json, which may be unfinished; nothing is said of it.

    Without moments.json, in a split that has masks, an object's moments are the frames where it
    has a mask (a warning says so); in a split without masks they stay unknown.

    Raises:
        InputError: a folder or file is missing or not of the layout above.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, give the root of the data set and its split")
    frames_root = folder / "JPEGImages"
    if not frames_root.is_dir():
        raise InputError(f"{frames_root}: no such folder, the frames of the split belong there")
    meta_path = find_expressions(folder)
    meta = read_videos(meta_path)
    masks_path = folder / "mask_dict.json"
    masks = MaskFile(masks_path) if masks_path.exists() else None
    moments_path = folder / MOMENTS_NAME
    moments = MomentsFile(moments_path) if annotated and moments_path.exists() else None
    videos = tuple(
        _video(name, entry, frames_root / name, meta_path, masks, moments)
        for name, entry in meta.items()
    )
    if moments is None and annotated:
        masked = any(e.masks is not None for video in videos for e in video.expressions)
        LOGGER.warning(
            "%s is missing: %s",
            moments_path,
            "every frame in which an object has a mask counts as its moment"
            if masked
            else "moments are not known",
        )
    return VideoDataset(kind, Path(root), split, videos)


def find_expressions(folder: Path) -> Path:
    """The file of expressions in the folder of a split, of whichever release."""
    found = [folder / name for name in META_NAMES if (folder / name).exists()]
    if len(found) > 1:
        LOGGER.warning(
            "%s: has %s; the first is read, and the others are not",
            folder,
            " and ".join(path.name for path in found),
        )
    return found[0] if found else folder / META_NAMES[0]


def _video(
    name: str,
    entry: Any,
    folder: Path,
    meta_path: Path,
    file: MaskFile | None,
    moments: MomentsFile | None,
) -> VideoRecord:
    frames, expressions = read_frames_and_expressions(name, entry, folder, meta_path)
    records = []
    for key, expression in expressions.items():
        masks, objects, known = None, None, None
        if "anno_id" in expression:
            where = f"{meta_path}: video {name}, expression {key}"
            pairs = objects_of(expression, where)
            objects = tuple(dict.fromkeys(obj for obj, _ in pairs))
            if file is not None:
                masks = RLEMasks(file, _tracks(pairs, file, len(frames), where), frames)
        if moments is not None:
            known = moments.per_object(name, key, len(frames), objects)
        elif masks is not None:
            known = VisibleMoments(masks, objects)
        records.append(ExpressionRecord(key, expression["exp"], objects, known, masks))
    return VideoRecord(name, frames, tuple(records))


def objects_of(expression: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    """(object id, annotation id) pairs, in the file's order; InputError if these are no lists."""
    annotations = expression["anno_id"]
    objects = expression.get("obj_id", annotations)
    if not isinstance(annotations, list) or not isinstance(objects, list):
        raise InputError(f"{where}: anno_id and obj_id should be lists; get the file again")
    if len(objects) != len(annotations):
        objects = annotations  # some releases list an object once for several annotations
    return [(str(o), str(a)) for o, a in zip(objects, annotations, strict=True)]


def _tracks(
    pairs: Sequence[tuple[str, str]], file: MaskFile, num_frames: int, where: str
) -> tuple[tuple[str, int], ...]:
    for _, annotation in pairs:
        if annotation not in file.first:
            raise InputError(
                f"{where}: annotation {annotation} is not in mask_dict.json; "
                f"use the two files of one release"
            )
        if file.length[annotation] != num_frames:
            raise InputError(
                f"{where}: annotation {annotation} has {file.length[annotation]} masks for "
                f"{num_frames} frames; use the files of one release"
            )
    return tuple((obj, file.first[annotation]) for obj, annotation in pairs)

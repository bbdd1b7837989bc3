"""Reader of the MeViS layout, which the synthetic `motion` set is written in too.

    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/meta_expressions.json   {"videos": {video: {"frames": [...], "expressions":
        {id: {"exp": text, "obj_id": [...], "anno_id": [...]}}}}}
    <root>/<split>/mask_dict.json          {anno_id: [null or COCO RLE per frame]}; not in `valid`
    <root>/<split>/moments.json            ours, see `moments_json`, since MeViS has no moments

MeViS v2 calls its expressions meta_expressions_v2.json (and meta_expressions_v2_release.json in
`valid`, without obj_id and anno_id). The target is the union over `anno_id`; empty lists mean that
the text has no target (MeViS v2). Fields beyond these are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgl_e2e.data.base import Frames, MaskReader, VideoDataset, VideoRecord, picture_size
from tgl_e2e.data.faults import GET_AGAIN, OBJECT_IDS, STRICT, Faults, Findings, Kind
from tgl_e2e.data.listed import read_listed, read_records
from tgl_e2e.data.mask_file import MaskFile
from tgl_e2e.data.rle import area, draw
from tgl_e2e.errors import InputError

LOGGER = logging.getLogger(__name__)
META_NAMES = (
    "meta_expressions.json",
    "meta_expressions_v2.json",
    "meta_expressions_v2_release.json",
)

ONE_RELEASE = "use meta_expressions.json and mask_dict.json of one release"
MASK_FILE = Kind("mask_dict.json that cannot be read", GET_AGAIN)
NO_ANNOTATION = Kind("annotations that mask_dict.json does not have", ONE_RELEASE)
TRACK_LENGTH = Kind("annotations with more or fewer masks than the video has frames", ONE_RELEASE)
MASK = Kind("masks that are damaged or not of the size of their picture", GET_AGAIN)
EMPTY_MASK = Kind("masks without a pixel (read as they are, and counted as seen)")
NEVER_SEEN = Kind("annotations without any mask", ONE_RELEASE)
UNUSED = Kind("annotations that no expression names")


@dataclass(frozen=True, slots=True)
class RLEMasks(MaskReader):
    """Masks of one expression, decoded when asked for.

    file: holds the masks of all expressions.
    tracks: object -> its annotations.
    frames: of the video; the first one says how large an empty mask is.
    """

    file: MaskFile
    tracks: Mapping[str, Sequence[str]]
    frames: Frames

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        frame = self.frames[position]
        union = np.zeros(picture_size(self.frames[0]), dtype=bool)
        for annotation in (a for obj in objects for a in self.tracks[obj]):
            rle = self.file.rle(annotation, position)
            try:
                union |= draw(rle, union.shape) if rle is not None else False
            except ValueError as error:
                raise InputError(
                    f"{self.file.path}: a mask of {frame} is damaged: {error}; "
                    f"python -m tgl_e2e.data.check names all of them"
                ) from None
        return union

    def visible(self, obj: str) -> np.ndarray:
        present = np.zeros(len(self.frames), dtype=bool)
        for annotation in self.tracks[obj]:
            found = self.file.present(annotation)[: len(present)]
            present[: len(found)] |= found
        return present


def read_mevis(
    root: str | Path,
    split: str,
    kind: str = "mevis",
    faults: Faults = STRICT,
    moments: Path | None = None,
    masks: bool = True,
) -> VideoDataset:
    """Reads one split: names, texts, the places of the masks, and moments; no frame and no mask.

    Args:
        moments: to be read in place of the split's moments.json.
        masks: whether they are wanted; without, their file stays closed.

    Raises:
        InputError: a file is missing or (with strict faults) not of the layout above.
    """
    folder = Path(root) / split
    meta_path, masks_path = find_expressions(folder), folder / "mask_dict.json"
    listed = read_listed(meta_path)
    file, used = None, set()
    try:
        file = MaskFile(masks_path) if masks and masks_path.exists() else None
    except InputError as error:
        faults.caught(MASK_FILE, error)

    def target_of(expression: Mapping[str, Any], frames: Frames, place: str):
        pairs = _objects_of(expression, meta_path, place, faults)
        if pairs is None:
            return None, None
        objects = tuple(dict.fromkeys(obj for obj, _ in pairs))
        if file is None:
            return objects, None
        tracks = {}
        for obj, annotation in pairs:
            where = f"{place}, object {obj}, annotation {annotation}"
            if annotation not in file:
                faults.error(NO_ANNOTATION, meta_path, where)
                continue
            length = file.length(annotation)
            if length != len(frames):
                detail = f"{length} masks for {len(frames)} frames"
                faults.error(TRACK_LENGTH, meta_path, where, detail)
            tracks.setdefault(obj, []).append(annotation)
            used.add(annotation)
        return objects, RLEMasks(file, tracks, frames)

    pictures, belong = folder / "JPEGImages", masks_path if masks else None
    videos = read_records(listed, meta_path, pictures, target_of, faults, moments, belong)
    for annotation in file or ():
        if annotation not in used:
            faults.warn(UNUSED, masks_path, annotation)
    return VideoDataset(kind, Path(root), split, videos)


def find_expressions(folder: Path) -> Path:
    """The file of expressions in the folder of a split, of whichever release."""
    found = [folder / name for name in META_NAMES if (folder / name).exists()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        LOGGER.warning("%s: has %s; the first is read, and the others are not", folder, names)
    return found[0] if found else folder / META_NAMES[0]


def _objects_of(
    expression: Mapping[str, Any], path: Path, place: str, faults: Faults
) -> list[tuple[str, str]] | None:
    """(object id, annotation id) pairs, in the file's order; None if they are not known."""
    if "anno_id" not in expression:
        return None
    annotations = expression["anno_id"]
    objects = expression.get("obj_id", annotations)
    shown = f"obj_id {objects!r}, anno_id {annotations!r}"
    if not isinstance(annotations, list) or not isinstance(objects, list):
        faults.error(OBJECT_IDS, path, place, shown)
        return None
    if bool(objects) != bool(annotations):
        faults.warn(OBJECT_IDS, path, place, shown)
    if len(objects) != len(annotations):
        objects = annotations  # some releases list an object once for several annotations
    return list(zip(map(str, objects), map(str, annotations), strict=True))


def examine(video: VideoRecord, size: tuple[int, int] | None, findings: Findings) -> None:
    """Looks at every mask of a video, each once.

    size: (H, W) of its pictures, None if none can be read.
    """
    tracks = {}
    for expression in video.expressions:
        for obj, named in expression.masks.tracks.items() if expression.masks else ():
            for annotation in named:
                tracks.setdefault(annotation, (expression, obj))
    for annotation, (expression, obj) in tracks.items():
        file = expression.masks.file
        place = f"video {video.name}, expression {expression.id}, object {obj}"
        place += f", annotation {annotation}"
        present = np.flatnonzero(file.present(annotation))
        if not present.size:
            findings.error(NEVER_SEEN, file.path, place)
        findings.masks += present.size
        for position in present.tolist() if size is not None else ():
            here = f"{place}, frame {position}"
            try:
                if area(file.rle(annotation, position), size) == 0:
                    findings.warn(EMPTY_MASK, file.path, here)
            except ValueError as error:  # InputError too
                findings.error(MASK, file.path, here, error)

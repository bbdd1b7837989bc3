"""A split in the layout of Ref-YouTube-VOS, Ref-DAVIS17 included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgl_e2e.data.base import Frames
from tgl_e2e.data.check.findings import Findings, Kind
from tgl_e2e.data.check.listing import DAMAGED, OBJECT_IDS, Listed, check_frames, read_listing
from tgl_e2e.data.check.moments import NO_FILE, check_moments
from tgl_e2e.data.davis import ANNOTATIONS
from tgl_e2e.data.files import MOMENTS_NAME
from tgl_e2e.data.ytvos import MAX_OBJECT, expressions_path, open_palette, without_test
from tgl_e2e.errors import InputError

VOID = 255  # of DAVIS: pixels that are not judged
EXTRACT = "Extract Annotations again, all of it."
NO_ANNOTATION = Kind("frames without an annotation", EXTRACT)
NO_MASKS = Kind(
    "Annotations is missing, though expressions name objects",
    "Get it: without masks there is nothing to train on and nothing to score.",
)
SIZE = Kind("annotations that differ in size from their picture", "Use those of one release.")
NEVER_SEEN = Kind("objects that no annotation of the video shows", "Use files of one release.")
OF_TEST = Kind("videos of test that valid lists too, and that are not read")
FOUR = Kind(
    "videos in which four expressions in a row do not speak of one object",
    "Convert the data set again: the order is object * 4 + annotation.",
)


def splits(root: Path) -> list[str]:
    """The splits in a folder."""
    found = root.glob("meta_expressions/*/meta_expressions.json")
    return sorted(path.parent.name for path in found)


def check_split(root: Path, split: str, four: bool, findings: Findings) -> None:
    """Adds what is wrong with a split; InputError if nothing of it can be read.

    four: whether each object is described four times, as in Ref-DAVIS17.
    """
    meta_path = expressions_path(root, split)
    listing = read_listing(meta_path, root / split / "JPEGImages", findings)
    if split == "valid":
        listing = _without_test(listing, root, findings)
    folder = root / split / "Annotations"
    named = any(objects for video in listing.values() for objects in video.expressions.values())
    if named and not folder.is_dir():
        findings.add(NO_MASKS, str(folder))
    # `valid` may hold the annotations of first frames, for another task: no expression names them.
    has_masks = named and folder.is_dir()
    seen: dict[str, np.ndarray] = {}  # video -> (T, 256) bool, packed: the values in each frame
    for name, listed in tqdm(listing.items(), desc=split, unit="video"):
        size = check_frames(name, listed, findings)
        _check_ids(name, listed, four, findings)
        if has_masks:
            values = _check_annotations(folder / name, listed, size, findings)
            _check_seen(name, listed, values, findings)
            seen[name] = np.packbits(values, axis=1)

    def visible(name: str, key: str, obj: str) -> np.ndarray | None:
        if name not in seen or not _is_object(obj):
            return None
        return np.unpackbits(seen[name], axis=1)[:, int(obj)].astype(bool)

    moments_path = meta_path.parent / MOMENTS_NAME
    if moments_path.exists():
        check_moments(moments_path, listing, visible, findings)
    else:
        findings.add(NO_FILE, str(moments_path))


def _without_test(listing: dict[str, Listed], root: Path, findings: Findings) -> dict[str, Listed]:
    rest = without_test(listing, root)
    for name in listing.keys() - rest.keys():
        findings.add(OF_TEST, name)
        findings.videos -= 1
        findings.frames -= len(listing[name].frames)
        findings.expressions -= len(listing[name].expressions)
    return rest


def _is_object(obj: str) -> bool:
    return obj.isdecimal() and 1 <= int(obj) <= MAX_OBJECT


def _check_ids(name: str, listed: Listed, four: bool, findings: Findings) -> None:
    ids = [next(iter(objects), "") for objects in listed.expressions.values() if objects]
    for key, objects in listed.expressions.items():
        for obj in objects or ():
            if not _is_object(obj):
                findings.add(
                    OBJECT_IDS,
                    f"video {name}, expression {key}: obj_id {obj}, 1 to {MAX_OBJECT} is expected",
                )
    if four and ids:
        groups = [set(ids[i : i + ANNOTATIONS]) for i in range(0, len(ids), ANNOTATIONS)]
        if len(ids) % ANNOTATIONS or any(len(group) > 1 for group in groups):
            findings.add(FOUR, f"video {name}: objects {', '.join(ids)}")


def _check_annotations(
    folder: Path, listed: Listed, size: tuple[int, int] | None, findings: Findings
) -> np.ndarray:
    """(T, 256) bool: the values in each frame; none where it cannot be read."""
    values = np.zeros((len(listed.frames), MAX_OBJECT + 1), dtype=bool)
    for row, path in zip(values, Frames(folder, listed.frames.names, ".png"), strict=True):
        if not path.exists():
            findings.add(NO_ANNOTATION, str(path))
            continue
        try:
            with open_palette(path) as picture:
                found = (picture.height, picture.width)
                row[:] = np.asarray(picture.histogram()) > 0
        except InputError as error:
            findings.add(DAMAGED, str(error))
            continue
        named = {
            int(o)
            for objects in listed.expressions.values()
            for o in objects or ()
            if _is_object(o)
        }
        void = [] if VOID in named else [VOID]  # where it means nothing, it is no object
        findings.masks += int(np.delete(row, [0, *void]).sum())
        if size is not None and found != size:
            findings.add(SIZE, f"{path}: {list(found)}, the picture {list(size)}")
    return values


def _check_seen(name: str, listed: Listed, values: np.ndarray, findings: Findings) -> None:
    anywhere = values.any(axis=0)
    for key, objects in listed.expressions.items():
        for obj in objects or ():
            if _is_object(obj) and not anywhere[int(obj)]:
                findings.add(NEVER_SEEN, f"video {name}, expression {key}, object {obj}")

"""The videos and expressions of a split, and their frames on disk, faults and all."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from tgl_e2e.data.base import Frames
from tgl_e2e.data.check.findings import Findings, Kind
from tgl_e2e.data.files import UNSAFE, check_text, read_videos, suffix_of
from tgl_e2e.errors import InputError

GET_AGAIN = "Get the file again."
VIDEO_ENTRY = Kind("videos without a list of frames or expressions", GET_AGAIN)
NO_FRAMES = Kind("videos with no frame listed", "Remove them from the file, or get it again.")
FRAME_TWICE = Kind("frames listed twice", GET_AGAIN)
UNSAFE_NAME = Kind(
    "names that are no safe names of files", "Rename them in the file: no separators, no devices."
)
OUT_OF_ORDER = Kind(
    "videos whose frames are not listed in the order of time",
    "List frames by their numbers, and masks in the same order: what is listed is what is read.",
)
NO_TEXT = Kind("expressions without a text", "Write the text, or remove the expression.")
OBJECT_IDS = Kind("expressions whose obj_id or anno_id are damaged", GET_AGAIN)
NO_FOLDER = Kind("videos without a folder of frames", "Extract JPEGImages again, all of it.")
NO_FRAME = Kind("listed frames that are not there", "Extract JPEGImages again, all of it.")
DAMAGED = Kind("pictures that cannot be read", "Extract them again, or restore them.")
SIZE_CHANGES = Kind(
    "videos whose frames differ in size", "Restore the frames: a video has one size."
)
OTHER_FRAMES = Kind("frames on disk that are not listed, and not read")
NO_TARGET = Kind("expressions without target")
NO_EXPRESSIONS = Kind("videos without expressions")


@dataclass(frozen=True)
class Listed:
    """One video as its entry has it.

    frames: paths, in order; may be of no use, see `check_frames`.
    expressions: id -> object -> annotations (of MeViS; elsewhere none); None: not said.
    """

    frames: Frames
    expressions: Mapping[str, Mapping[str, list[str]] | None]


def read_listing(meta_path: Path, frames_root: Path, findings: Findings) -> dict[str, Listed]:
    """Reads a meta_expressions.json; InputError only if it is no such file at all."""
    listing = {}
    for name, entry in read_videos(meta_path).items():
        where = f"{meta_path.name}: {name}"
        try:
            frames = [str(frame) for frame in entry["frames"]]
            expressions = dict(entry["expressions"])
            unsafe = [one for one in (name, *frames, *map(str, expressions)) if UNSAFE.search(one)]
            for one in unsafe:
                findings.add(UNSAFE_NAME, f"{where}: {one!a}")
            if unsafe:
                continue
            distinct = list(dict.fromkeys(frames))
            suffix = suffix_of(frames_root / name, distinct)
            listed = Frames(frames_root / name, distinct, suffix)
        except (KeyError, TypeError, ValueError):
            findings.add(VIDEO_ENTRY, where)
            continue
        if not frames:
            findings.add(NO_FRAMES, where)
            continue
        for frame in sorted(f for f, count in Counter(frames).items() if count > 1):
            findings.add(FRAME_TWICE, f"{where}, {frame}")
        found = [re.search(r"(\d+)\D*$", frame) for frame in frames]
        numbers = [int(match[1]) for match in found if match]
        if any(a > b for a, b in pairwise(numbers)):
            findings.add(OUT_OF_ORDER, where)
        if not expressions:
            findings.add(NO_EXPRESSIONS, name)
        listing[name] = Listed(
            listed,
            {
                str(key): _objects(value, f"{where}, expression {key}", findings)
                for key, value in expressions.items()
            },
        )
        objects = {obj for found in listing[name].expressions.values() for obj in found or ()}
        findings.objects += len(objects)
        findings.frames += len(listed)
        findings.expressions += len(expressions)
    findings.videos += len(listing)
    return listing


def _objects(expression: Any, where: str, findings: Findings) -> dict[str, list[str]] | None:
    if not isinstance(expression, Mapping):
        findings.add(NO_TEXT, where)
        return None
    text = expression.get("exp")
    try:
        check_text(text if isinstance(text, str) else "", where)
    except InputError as error:
        said = isinstance(text, str) and text.strip()
        findings.add(NO_TEXT, str(error) if said else where)
    objects = expression.get("obj_id")
    if "anno_id" in expression:  # MeViS
        annotations = expression["anno_id"]
        objects = annotations if objects is None else objects
        if not isinstance(annotations, list) or not isinstance(objects, list):
            findings.add(OBJECT_IDS, f"{where}: obj_id {objects!r}, anno_id {annotations!r}")
            return None
        if bool(objects) != bool(annotations):
            findings.add(OBJECT_IDS, f"{where}: obj_id {objects}, anno_id {annotations}")
        if not annotations:
            findings.add(NO_TARGET, where)
        if len(objects) != len(annotations):
            objects = annotations  # as the reader does
        found: dict[str, list[str]] = {}
        for obj, annotation in zip(objects, annotations, strict=True):
            found.setdefault(str(obj), []).append(str(annotation))
        return found
    if objects is None or isinstance(objects, list):
        return None
    return {str(objects): []}


def check_frames(name: str, listed: Listed, findings: Findings) -> tuple[int, int] | None:
    """Looks at every frame of a video; returns (H, W) of the first that can be read."""
    folder = listed.frames[0].parent
    try:
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries}
    except OSError:
        findings.add(NO_FOLDER, str(folder))
        return None
    size, same = None, True
    for path in listed.frames:
        if path.name not in there:
            findings.add(NO_FRAME, str(path))
            continue
        found = check_picture(path, findings)
        size = size or found
        same = same and found in (None, size)
        there.discard(path.name)
    if not same:
        findings.add(SIZE_CHANGES, name)
    for other in sorted(there):
        if other.endswith(listed.frames[0].suffix):
            findings.add(OTHER_FRAMES, str(folder / other))
    return size


def check_picture(path: Path, findings: Findings) -> tuple[int, int] | None:
    """(H, W) of a picture from its header; None, and a finding, if it cannot be read."""
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError, ValueError):
        findings.add(DAMAGED, str(path))
        return None

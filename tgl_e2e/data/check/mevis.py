"""A split in the layout of MeViS (and of the synthetic `motion`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgl_e2e.data.check.findings import Findings, Kind
from tgl_e2e.data.check.listing import GET_AGAIN, Listed, check_frames, read_listing
from tgl_e2e.data.check.moments import NO_FILE, check_moments
from tgl_e2e.data.files import MOMENTS_NAME
from tgl_e2e.data.mask_file import MaskFile
from tgl_e2e.data.mevis import META_NAMES, find_expressions
from tgl_e2e.data.rle import area
from tgl_e2e.errors import InputError

ONE_RELEASE = "Use meta_expressions.json and mask_dict.json of one release."
MASK_FILE = Kind("mask_dict.json that cannot be read", GET_AGAIN)
NO_MASKS = Kind(
    "mask_dict.json is missing, though expressions name annotations",
    "Get it: without masks there is nothing to train on and nothing to score.",
)
NO_ANNOTATION = Kind("annotations that mask_dict.json does not have", ONE_RELEASE)
TRACK_LENGTH = Kind("annotations with more or fewer masks than the video has frames", ONE_RELEASE)
MASK = Kind("masks that are damaged or not of the size of their picture", GET_AGAIN)
EMPTY_MASK = Kind("masks without a pixel (read as they are, and counted as seen)")
NEVER_SEEN = Kind("annotations without any mask", ONE_RELEASE)
UNUSED = Kind("annotations that no expression names")


def splits(root: Path) -> list[str]:
    """The splits in a folder."""
    return sorted(
        folder.name
        for folder in root.iterdir()
        if any((folder / name).exists() for name in (*META_NAMES, "JPEGImages"))
    )


def check_split(root: Path, split: str, findings: Findings) -> None:
    """Adds what is wrong with a split; InputError if nothing of it can be read."""
    folder = root / split
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, give the root of the data set and its split")
    listing = read_listing(find_expressions(folder), folder / "JPEGImages", findings)
    masks = _open_masks(folder / "mask_dict.json", listing, findings)
    used: set[str] = set()
    for name, listed in tqdm(listing.items(), desc=split, unit="video"):
        size = check_frames(name, listed, findings)
        if masks is not None:
            used |= _check_masks(name, listed, size, masks, used, findings)
    for annotation in masks.first if masks is not None else ():
        if annotation not in used:
            findings.add(UNUSED, annotation)

    def visible(name: str, key: str, obj: str) -> np.ndarray | None:
        listed = listing[name]
        tracks = [
            masks.present(masks.first[annotation], len(listed.frames))
            for annotation in (listed.expressions[key] or {}).get(obj, ())
            if masks is not None and masks.length.get(annotation) == len(listed.frames)
        ]
        return np.logical_or.reduce(tracks) if tracks else None

    moments_path = folder / MOMENTS_NAME
    if moments_path.exists():
        check_moments(moments_path, listing, visible, findings)
    else:
        findings.add(NO_FILE, str(moments_path))


def _open_masks(path: Path, listing: dict[str, Listed], findings: Findings) -> MaskFile | None:
    if not path.exists():
        if any(objects for listed in listing.values() for objects in listed.expressions.values()):
            findings.add(NO_MASKS, str(path))
        return None
    try:
        return MaskFile(path)
    except InputError as error:
        findings.add(MASK_FILE, str(error))
        return None


def _check_masks(
    name: str,
    listed: Listed,
    size: tuple[int, int] | None,
    masks: MaskFile,
    known: set[str],
    findings: Findings,
) -> set[str]:
    """Looks at the masks of a video, each once; returns the annotations it names."""
    named: dict[str, str] = {}  # annotation -> where it is first named
    for key, objects in listed.expressions.items():
        for obj, its_annotations in (objects or {}).items():
            for annotation in its_annotations:
                named.setdefault(annotation, f"video {name}, expression {key}, object {obj}")
    for annotation, where in named.items():
        here = f"{where}, annotation {annotation}"
        if annotation not in masks.first:
            findings.add(NO_ANNOTATION, here)
            continue
        if annotation in known:
            continue
        first, length = masks.first[annotation], masks.length[annotation]
        if length != len(listed.frames):
            findings.add(TRACK_LENGTH, f"{here}: {length} masks, {len(listed.frames)} frames")
        present = np.flatnonzero(masks.present(first, length))
        if not present.size:
            findings.add(NEVER_SEEN, here)
        findings.masks += present.size
        for position in present.tolist() if size is not None else ():
            try:
                if area(masks.rle(first + position), size) == 0:
                    findings.add(EMPTY_MASK, f"{here}, frame {position}")
            except ValueError as error:
                findings.add(MASK, f"{here}, frame {position}: {error}")
    return set(named)

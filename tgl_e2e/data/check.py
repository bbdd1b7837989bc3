"""Command line: looks over the folder of a data set and says all that is wrong with it.

The readers do most of it, with faults collected that otherwise end the reading; here, frames and
masks are looked at too.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgl_e2e import cli
from tgl_e2e.data.base import ANY_OBJECT, ExpressionRecord, VideoDataset, VideoRecord, picture_size
from tgl_e2e.data.datasets import DATASETS, DatasetInfo
from tgl_e2e.data.faults import DAMAGED, GET_AGAIN, Findings, Kind
from tgl_e2e.data.moments_json import CORRECT, MOMENTS_NAME, MomentsFile
from tgl_e2e.errors import InputError
from tgl_e2e.moments import inside

PROGRAM = "python -m tgl_e2e.data.check"
EXTRACT = "extract the frames again, all of them"

FRAME_TWICE = Kind("frames listed twice", GET_AGAIN)
OUT_OF_ORDER = Kind(
    "videos whose frames are not listed in the order of time",
    "list frames by their numbers, and masks in the same order: what is listed is what is read",
)
NO_FOLDER = Kind("videos without a folder of frames", EXTRACT)
NO_FRAME = Kind("listed pictures that are not there", EXTRACT)
SIZE_CHANGES = Kind(
    "videos whose frames differ in size", "restore the frames: a video has one size"
)
OTHER_FRAMES = Kind("frames on disk that are not listed, and not read")
NO_TARGET = Kind("expressions without target")
NO_EXPRESSIONS = Kind("videos without expressions")
# An object may well be hidden for a while: a note.
UNSEEN = Kind("moments in which the object has no mask in some of the frames")
NEVER_SEEN = Kind("moments in which the object has no mask at all", CORRECT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 clean, 1 problems, 2 it cannot run."""
    parser = cli.Parser(
        prog=PROGRAM,
        description="Looks over the folder of a data set and reports what is wrong with it: a line "
        "per kind of problem, with how often it occurs, the first places, and the remedy. Nothing "
        "is changed.",
        epilog="Exit status: 0 if there is no problem (notes are none), 1 if there is one, "
        "2 if the folder cannot be read as this data set.",
    )
    parser.add_argument("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder that holds the data set")
    text = "only this split (default: all that are there)"
    parser.add_argument("--split", metavar="S", help=text)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    info = DATASETS[options.dataset]
    return cli.run(PROGRAM, lambda: _check(info, options.root, options.split))


def _check(info: DatasetInfo, root: Path, asked: str | None) -> int:
    """Prints what is found; the exit status."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, give the one that holds the data set")
    splits = [asked] if asked else info.splits(root)
    if not splits:
        expected = info.listed.format(split="<split>").replace("*", "")
        raise InputError(f"{root}: no split of {info.name} is there, {expected} is expected")
    status = cli.OK
    for split in splits:
        try:
            findings = check(info, root, split)
        except InputError as error:  # the other splits may do
            cli.say(PROGRAM, f"{split}: {error}")
            status = cli.MISTAKE
            continue
        print("\n".join(f"{split}: {line}" for line in findings.lines()))
        status = max(status, min(findings.problems, 1))
    return status


def check(info: DatasetInfo, root: Path, split: str) -> Findings:
    """All that is wrong with one split; InputError if it cannot be read at all."""
    findings = Findings()
    dataset = info.read(root, split, info.name, findings)
    look_at_listing(dataset, findings)
    for video in tqdm(dataset.videos, desc=split, unit="video"):
        size = _look_at_frames(video, info.images, findings)
        info.examine(video, size, findings)
    if not info.images:
        _hold_moments_against_masks(info, dataset, findings)
    return findings


def look_at_listing(dataset: VideoDataset, findings: Findings) -> None:
    """Counts what is listed, and notes what readers take as it is; opens nothing."""
    findings.videos = len(dataset.videos)
    for video in dataset.videos:
        place, names = f"video {video.name}", video.frames.names
        findings.frames += len(names)
        findings.expressions += len(video.expressions)
        findings.objects += len({obj for e in video.expressions for obj in e.objects or ()})
        if not video.expressions:
            findings.warn(NO_EXPRESSIONS, dataset.root, place)
        for expression in video.expressions:
            if expression.objects == ():
                findings.warn(NO_TARGET, dataset.root, f"{place}, expression {expression.id}")
        for frame, count in Counter(names).items():
            if count > 1:
                findings.warn(FRAME_TWICE, dataset.root, f"{place}, {frame}")
        found = [re.search(r"(\d+)\D*$", frame) for frame in names]
        if any(a > b for a, b in pairwise(int(match[1]) for match in found if match)):
            findings.warn(OUT_OF_ORDER, dataset.root, place)


def _look_at_frames(video: VideoRecord, single: bool, findings: Findings) -> tuple[int, int] | None:
    """Looks at every frame of a video; returns (H, W) of the first that can be read.

    single: the folder of frames holds other videos' frames too.
    """
    frames = video.frames
    folder = frames[0].parent
    if not folder.is_dir():
        findings.error(NO_FOLDER, folder)
        return None
    sizes = []
    for path in frames:
        try:
            sizes.append(picture_size(path))
        except InputError:
            findings.error(DAMAGED if path.is_file() else NO_FRAME, path)
    if len(set(sizes)) > 1:
        findings.error(SIZE_CHANGES, folder, video.name)
    there = () if single else folder.glob(f"*{frames[0].suffix}")
    for other in sorted(set(there).difference(frames)):
        findings.warn(OTHER_FRAMES, other)
    return sizes[0] if sizes else None


def _hold_moments_against_masks(
    info: DatasetInfo, dataset: VideoDataset, findings: Findings
) -> None:
    listed = next(dataset.root.glob(info.listed.format(split=dataset.split)))
    path = listed.parent / MOMENTS_NAME
    if not path.exists():
        return
    moments = MomentsFile(path, Findings())  # its own faults are known by now
    for video in dataset.videos:
        for expression in video.expressions:
            known = expression.masks and moments.of(video.name, expression.id, video.num_frames)
            for obj, spans in (known or {}).items():
                seen = _seen(expression, obj)
                place = f"video {video.name}, expression {expression.id}, object {obj}"
                for span in spans if seen is not None else ():
                    shown = seen[inside(np.arange(video.num_frames), [span])]
                    if not shown.any():
                        findings.error(NEVER_SEEN, path, place, list(span))
                    elif not shown.all():
                        missing = f"{list(span)}, {int((~shown).sum())} frames"
                        findings.warn(UNSEEN, path, place, missing)


def _seen(expression: ExpressionRecord, obj: str) -> np.ndarray | None:
    """(T,) bool: where an object (or any that is meant) has a mask; None if that is not known."""
    found = []
    for one in expression.objects:
        if obj in (one, ANY_OBJECT):
            with contextlib.suppress(KeyError):  # its annotations are missing
                found.append(expression.masks.visible(one))
    return np.logical_or.reduce(found) if found else None


if __name__ == "__main__":
    sys.exit(main())

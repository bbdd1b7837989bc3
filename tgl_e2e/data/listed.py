"""What the layouts of MeViS and Ref-YouTube-VOS share: a meta_expressions.json lists videos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import ExpressionRecord, Frames, MaskReader, VideoRecord, VisibleMoments
from tgl_e2e.data.faults import GET_AGAIN, NO_MASKS, NO_TEXT, STRICT, UNSAFE_NAME, Faults, Kind
from tgl_e2e.data.moments_json import MOMENTS_NAME, MomentsFile
from tgl_e2e.errors import InputError
from tgl_e2e.files import UNSAFE, is_text, read_json

LOGGER = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".webp")  # of frames

VIDEO_ENTRY = Kind("no list of frames or expressions", GET_AGAIN)
NO_FRAMES = Kind("no frame listed", "remove the video from the file, or get it again")
NO_FILE = Kind("moments.json is missing")

# An expression's entry, the video's frames, and where it stands -> its objects and their masks;
# None where they are not known.
Target = Callable[
    [Mapping[str, Any], Frames, str], tuple[tuple[str, ...] | None, MaskReader | None]
]


def read_listed(path: Path) -> dict[str, Any]:
    """What a meta_expressions.json says, by video; InputError if it is no such file."""
    content = read_json(path, "it lists the videos and expressions")
    if not isinstance(content, dict) or not isinstance(content.get("videos"), dict):
        raise InputError(f'{path}: has no "videos" object, is it a file of this data set?')
    return content["videos"]


def read_records(
    listed: Mapping[str, Any],
    path: Path,
    frames_root: Path,
    target_of: Target,
    faults: Faults,
    moments_path: Path | None,
    masks_path: Path | None,
    cost: str = "",
) -> tuple[VideoRecord, ...]:
    """The records of listed videos; no frame and no mask is read.

    Without moments.json, an object with masks has its moments where it has a mask (a warning says
    so); without masks they stay unknown.

    Args:
        listed: of :func:`read_listed`.
        path: of that file.
        moments_path: None: beside that file.
        masks_path: where masks lie, if they are wanted: not to have them is a fault where
            expressions name objects.
        cost: what it costs to do without, for the warning.
    """
    beside = moments_path or path.parent / MOMENTS_NAME
    given = moments_path is not None or beside.exists()
    moments = MomentsFile(beside, faults) if given else None
    videos = []
    for name, entry in listed.items():
        frames, expressions = _entry(name, entry, frames_root / name, path, faults)
        if frames is None:
            continue
        records = []
        for key, expression in expressions.items():
            place = f"video {name}, expression {key}"
            if not is_text(expression.get("exp")):
                faults.error(NO_TEXT, path, place, ascii(expression.get("exp"))[:60])
            objects, masks = target_of(expression, frames, place)
            known = None
            if moments is not None:
                known = moments.of(name, key, len(frames), objects)
            elif masks is not None:
                known = VisibleMoments(masks, objects)
            records.append(ExpressionRecord(key, expression.get("exp"), objects, known, masks))
        videos.append(VideoRecord(name, frames, tuple(records)))
    everything = [e for video in videos for e in video.expressions]
    if masks_path and not masks_path.exists() and any(e.objects for e in everything):
        faults.warn(NO_MASKS, masks_path)
    if moments is not None:
        moments.report_unknown(videos)
        return tuple(videos)
    faults.warn(NO_FILE, beside)
    if faults is STRICT:
        said = f"every frame in which an object has a mask counts as its moment{cost}"
        masked = any(e.masks is not None for e in everything)
        LOGGER.warning("%s is missing: %s", beside, said if masked else "moments are not known")
    return tuple(videos)


def _entry(
    name: str, entry: Any, folder: Path, path: Path, faults: Faults
) -> tuple[Frames | None, dict[str, Mapping[str, Any]]]:
    """Frames in the order in which they are listed, as masks are, and expressions by their ids;
    None, and a fault, if they cannot be used."""
    place = f"video {name}"
    try:
        names = [str(frame) for frame in entry["frames"]]
        expressions = {
            str(key): value if isinstance(value, Mapping) else {}
            for key, value in entry["expressions"].items()
        }
    except (AttributeError, KeyError, TypeError):
        faults.error(VIDEO_ENTRY, path, place)
        return None, {}
    unsafe = [one for one in (name, *names, *expressions) if UNSAFE.search(one)]
    for one in unsafe:
        faults.error(UNSAFE_NAME, path, place, ascii(one))
    if not names:
        faults.error(NO_FRAMES, path, place)
    if unsafe or not names:
        return None, {}
    files = (s for s in SUFFIXES if (folder / f"{names[0]}{s}").is_file())
    return Frames(folder, names, next(files, SUFFIXES[0])), expressions

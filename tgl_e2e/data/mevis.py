"""Reader of the MeViS layout, which the synthetic `motion` set is written in too.

    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/meta_expressions.json   {"videos": {video: {"frames": [...], "expressions":
        {id: {"exp": text, "obj_id": [...], "anno_id": [...]}}}}}
    <root>/<split>/mask_dict.json          {anno_id: [null or COCO RLE per frame]}; not in `valid`
    <root>/<split>/moments.json            {"version": 1, "videos": {video: {"expressions":
        {id: {"objects": {obj_id: [[start, end], ...]}}}}}}; ours, since MeViS has no moments

The target is the union over `anno_id`; empty lists mean that the text has no target (MeViS v2).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tgl_e2e.data.base import (
    ANY_OBJECT,
    ExpressionRecord,
    Span,
    VideoDataset,
    VideoRecord,
    picture_size,
)
from tgl_e2e.errors import InputError
from tgl_e2e.moments import spans

LOGGER = logging.getLogger(__name__)
MOMENTS_VERSION = 1

Tracks = Mapping[str, Sequence[dict | None]]  # anno_id -> per frame null or RLE


@dataclass(frozen=True)
class RLEMasks:
    """Masks of one expression, decoded when asked for (a `MaskReader`).

    tracks: per object its RLEs (one list per annotation), each per frame.
    first_frame: says how large an empty mask is.
    """

    tracks: Mapping[str, Sequence[Sequence[dict | None]]]
    first_frame: Path
    num_frames: int

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if not 0 <= position < self.num_frames:
            raise IndexError(f"frame {position} of a video of {self.num_frames} frames")
        found = [track[position] for obj in objects for track in self.tracks[obj]]
        found = [rle for rle in found if rle is not None]
        if not found:
            return np.zeros(picture_size(self.first_frame), dtype=bool)
        # Decoded column by column; rows in order make everything that follows faster.
        return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(found)), dtype=bool)

    def visible(self, obj: str) -> np.ndarray:
        present = np.zeros(self.num_frames, dtype=bool)
        for track in self.tracks[obj]:
            present |= [rle is not None for rle in track]
        return present


def read_mevis(root: str | Path, split: str, kind: str = "mevis") -> VideoDataset:
    """Reads one split: names, texts, RLEs and moments, no frame and no mask.

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
    meta_path = folder / "meta_expressions.json"
    meta = _videos(_read_json(meta_path, "it lists the videos and expressions"), meta_path)
    tracks = _read_tracks(folder / "mask_dict.json")
    moments_path = folder / "moments.json"
    moments = MomentsFile(moments_path) if moments_path.exists() else None
    if moments is None:
        LOGGER.warning(
            "%s is missing: %s",
            moments_path,
            "moments are not known"
            if tracks is None
            else "every frame in which an object has a mask counts as its moment",
        )
    videos = tuple(
        _video(name, entry, frames_root / name, meta_path, tracks, moments)
        for name, entry in meta.items()
    )
    return VideoDataset(kind, Path(root), split, videos)


# Files


def _read_json(path: Path, purpose: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, {purpose}; get the whole split") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a JSON file ({reason}); get it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _videos(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), dict):
        raise InputError(f'{path}: has no "videos" object, is it a file of this data set?')
    return content["videos"]


def _read_tracks(path: Path) -> Tracks | None:
    if not path.exists():
        return None
    tracks = _read_json(path, "it holds the masks")
    if not isinstance(tracks, dict) or not all(isinstance(t, list) for t in tracks.values()):
        raise InputError(f"{path}: should hold one list of masks per annotation; get it again")
    return tracks


class MomentsFile:
    """A moments.json: per video, expression and object the spans of relevant frames.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        content = _read_json(path, "it holds the moments")
        self._videos = _videos(content, path)
        if content.get("version") != MOMENTS_VERSION:
            raise InputError(
                f"{path}: version {content.get('version')!r}, this program reads {MOMENTS_VERSION}"
            )

    def of(self, video: str, expression: str, num_frames: int) -> dict[str, tuple[Span, ...]]:
        """Object -> spans, ANY_OBJECT -> spans of their union; InputError without an entry."""
        where = f"{self.path}: video {video}, expression {expression}"
        try:
            objects = self._videos[video]["expressions"][expression]["objects"]
            found = {
                str(obj): tuple((int(start), int(end)) for start, end in intervals)
                for obj, intervals in objects.items()
            }
        except KeyError:
            raise InputError(f"{where} has no entry; write the file for this split") from None
        except (AttributeError, TypeError, ValueError):
            raise InputError(f"{where}: should hold lists of [start, end] per object") from None
        for start, end in (span for intervals in found.values() for span in intervals):
            if not 0 <= start <= end < num_frames:
                raise InputError(
                    f"{where}: [{start}, {end}] is no interval of a video of {num_frames} frames"
                )
        return found


# Videos and expressions


def _video(
    name: str,
    entry: Any,
    folder: Path,
    meta_path: Path,
    tracks: Tracks | None,
    moments: MomentsFile | None,
) -> VideoRecord:
    try:
        names, expressions = list(entry["frames"]), dict(entry["expressions"])
        texts = {key: str(value["exp"]) for key, value in expressions.items()}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{meta_path}: video {name} lacks frames or expressions in the MeViS form; "
            f"get the file again"
        ) from None
    frames = tuple(folder / f"{frame}.jpg" for frame in names)
    if not frames:
        raise InputError(f"{meta_path}: video {name} has no frames; remove it from the file")
    if not frames[0].is_file():
        raise InputError(f"{frames[0]}: no such frame, though {meta_path.name} lists it; add it")

    records = []
    for key, text in texts.items():
        where = f"video {name}, expression {key}"
        masks, objects = None, None
        if "anno_id" in expressions[key]:
            by_object = _objects(expressions[key], f"{meta_path}: {where}")
            objects = tuple(by_object)
            if tracks is not None:
                masks = RLEMasks(
                    _tracks_of(by_object, tracks, len(frames), f"{meta_path}: {where}"),
                    frames[0],
                    len(frames),
                )
        if moments is not None:
            known = moments.of(name, key, len(frames))
            known = _per_object(known, objects, f"{moments.path}: {where}")
        elif masks is not None:
            positions = np.arange(len(frames))
            known = {obj: tuple(spans(positions, masks.visible(obj))) for obj in objects}
        else:
            known = None
        records.append(ExpressionRecord(key, text, objects, known, masks))
    return VideoRecord(name, frames, tuple(records))


def _objects(expression: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """Object id -> annotation ids, in the file's order."""
    annotations = expression["anno_id"]
    objects = expression.get("obj_id", annotations)
    if not isinstance(annotations, list) or not isinstance(objects, list):
        raise InputError(f"{where}: anno_id and obj_id should be lists; get the file again")
    if len(objects) != len(annotations):
        objects = annotations  # some releases list an object once for several annotations
    by_object: dict[str, list[str]] = {}
    for obj, annotation in zip(objects, annotations, strict=True):
        by_object.setdefault(str(obj), []).append(str(annotation))
    return by_object


def _tracks_of(
    by_object: Mapping[str, Sequence[str]], tracks: Tracks, num_frames: int, where: str
) -> dict[str, list[Sequence[dict | None]]]:
    found: dict[str, list[Sequence[dict | None]]] = {}
    for obj, names in by_object.items():
        for annotation in names:
            track = tracks.get(annotation)
            if track is None:
                raise InputError(f"{where}: annotation {annotation} is not in mask_dict.json; "
                                 f"use the two files of one release")  # fmt: skip
            if len(track) != num_frames:
                raise InputError(
                    f"{where}: annotation {annotation} has {len(track)} masks for {num_frames} "
                    f"frames; use the files of one release"
                )
            found.setdefault(obj, []).append(track)
    return found


def _per_object(
    moments: dict[str, tuple[Span, ...]], objects: tuple[str, ...] | None, where: str
) -> dict[str, tuple[Span, ...]]:
    """Moments keyed by the expression's own objects; a known union counts for each of them."""
    if objects is None:
        return moments
    if set(moments) == {ANY_OBJECT}:
        return dict.fromkeys(objects, moments[ANY_OBJECT])
    if set(moments) != set(objects):
        raise InputError(
            f"{where}: moments of objects {sorted(moments)}, but the expression means "
            f"{sorted(objects)}; write the file for this release"
        )
    return {obj: moments[obj] for obj in objects}

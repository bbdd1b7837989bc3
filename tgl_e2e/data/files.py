"""What the layouts of the data sets share: JSON files, lists of videos, moments.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import ANY_OBJECT, Frames, Span
from tgl_e2e.errors import InputError

MOMENTS_NAME = "moments.json"
MOMENTS_VERSION = 1


def read_json(path: Path, purpose: str) -> Any:
    """The content of a JSON file; InputError if it is missing or damaged.

    purpose: what the file is for, for the message, e.g. "it lists the videos".
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, {purpose}; get the whole split") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a JSON file ({reason}); get it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_videos(path: Path) -> dict[str, Any]:
    """What a meta_expressions.json says, by video; InputError if it is no such file."""
    return _videos(read_json(path, "it lists the videos and expressions"), path)


def _videos(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), dict):
        raise InputError(f'{path}: has no "videos" object, is it a file of this data set?')
    return content["videos"]


def read_frames_and_expressions(
    name: str, entry: Any, folder: Path, meta_path: Path
) -> tuple[Frames, dict[str, Mapping[str, Any]]]:
    """Frames and expressions of one video of a meta_expressions.json.

    Frames in the order of their names, as the readers that came with these data sets take them.

    folder: of the video's frames. Raises InputError if the entry is damaged, or the first or last
    frame is not there.
    """
    try:
        names = sorted(str(frame) for frame in entry["frames"])
        expressions = {str(key): dict(value) for key, value in entry["expressions"].items()}
        if not all(isinstance(value["exp"], str) for value in expressions.values()):
            raise ValueError
        frames = Frames(folder, names)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{meta_path}: video {name} lacks frames or expressions in the form of MeViS and "
            f"Ref-YouTube-VOS; get the file again"
        ) from None
    if not frames:
        raise InputError(f"{meta_path}: video {name} has no frames; remove it from the file")
    for frame in (frames[0], frames[-1]):
        if not frame.is_file():
            raise InputError(f"{frame}: no such frame, though {meta_path.name} lists it; add it")
    return frames, expressions


class MomentsFile:
    """A moments.json: per video, expression and object the spans of relevant frames.

    {"version": 1, "videos": {video: {"expressions": {id: {"objects": {obj_id: [[start, end],
    ...]}}}}}}: frame positions, inclusive; obj_id "*" where only the union is known. Ours, for no
    data set of the field has moments.

    Raises:
        InputError: the file is missing, damaged, or of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        content = read_json(path, "it holds the moments")
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

    def per_object(
        self, video: str, expression: str, num_frames: int, objects: tuple[str, ...] | None
    ) -> dict[str, tuple[Span, ...]]:
        """Moments keyed by the expression's own objects; a known union counts for each of them.

        objects: None if they are not known: the moments as the file has them.
        """
        moments = self.of(video, expression, num_frames)
        if objects is None:
            return moments
        if set(moments) == {ANY_OBJECT}:
            return dict.fromkeys(objects, moments[ANY_OBJECT])
        if set(moments) != set(objects):
            raise InputError(
                f"{self.path}: video {video}, expression {expression}: moments of objects "
                f"{sorted(moments)}, but the expression means {sorted(objects)}; "
                f"write the file for this release"
            )
        return {obj: moments[obj] for obj in objects}

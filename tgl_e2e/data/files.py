"""What the layouts of the data sets share: JSON files, lists of videos, moments.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import ANY_OBJECT, Frames, Span
from tgl_e2e.errors import InputError

MOMENTS_NAME = "moments.json"
MOMENTS_VERSION = 1
SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".webp")  # of frames
# What would leave the folder it is meant for, or is no file's name on some system.
UNSAFE = re.compile(
    r"""(?ix) ^\s*$ | ^\.+$ | [/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff] | [ .]$
    | ^(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])(\.|$)"""
)


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

    Frames in the order in which they are listed, as masks are.

    folder: of the video's frames. Raises InputError if the entry is damaged, a name would be no
    file's name below its folder, an expression says nothing, or the first or last frame is not
    there.
    """
    try:
        names = [str(frame) for frame in entry["frames"]]
        expressions = {str(key): dict(value) for key, value in entry["expressions"].items()}
        if not all(isinstance(value["exp"], str) for value in expressions.values()):
            raise ValueError
        for part, what in ((name, "video"), *((f, "frame") for f in names)):
            check_name(part, f"{meta_path}: {what}")
        for key, value in expressions.items():
            check_name(key, f"{meta_path}: video {name}, expression")
            check_text(value["exp"], f"{meta_path}: video {name}, expression {key}")
        frames = Frames(folder, names, suffix_of(folder, names))
    except InputError:
        raise
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


def check_name(name: str, where: str) -> None:
    """Names from annotation files become files' names: InputError where that is not safe."""
    if UNSAFE.search(name):
        raise InputError(
            f"{where} {name!a}: no safe name of a file (it holds a separator, a control "
            "character or a device's name); rename it in the file"
        )


def check_text(text: str, where: str) -> None:
    """InputError for an expression that says nothing, or that is no text."""
    if not text.strip():
        raise InputError(f"{where}: has no text; write it, or remove the expression")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: {ascii(text)[:60]} is no Unicode text; write it again in UTF-8"
        ) from None


def suffix_of(folder: Path, names: Sequence[str]) -> str:
    """The suffix of a video's frames: that of the first one that is there."""
    first = names[0] if names else ""
    return next((s for s in SUFFIXES if (folder / f"{first}{s}").is_file()), SUFFIXES[0])


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

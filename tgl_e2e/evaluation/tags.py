"""What is known of an expression besides its truth: by these tags scores are broken down."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import ExpressionRecord, VideoRecord
from tgl_e2e.errors import InputError

# Bins by upper bounds; each holds its lower bound. Shares are in percent.
SHARE_BOUNDS = (10, 25, 50, 75)  # M+ among the frames
SIZE_BOUNDS = (1, 4, 10)  # target among the pixels, mean over the frames that show it

Scenes = Mapping[str, Mapping[str, Any]]


def read_scenes(folder: Path) -> Scenes:
    """scenes.json of a split, {video: what the generator knows of it}; {} without such a file.

    Raises:
        InputError: the file is not of the form that the generator writes.
    """
    path = folder / "scenes.json"
    if not path.is_file():
        return {}
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        for content in videos.values():
            len(content["objects"]), content["level"]
            for e in content["expressions"].values():
                e["kind"], e["appearance_decides"], list(e["cues"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: not of the form that the generator writes; "
            f"write the split again, or remove it"
        ) from None
    return videos


def tags_of(
    video: VideoRecord, expression: ExpressionRecord, scenes: Scenes, size: float | None
) -> dict[str, Any]:
    """The tags of one expression; what is not known is left out.

    Keys: `target` (none, one object, several objects); `relevant_share` (of M+ among the frames)
    and `target_size`, in bins; for Ref-DAVIS17 `annotation`; and where scenes.json knows it
    `level`, `kind`, `appearance_decides` (whether words about looks alone pick the target), `cues`
    (without which they do not), `distractors` (objects in the video that are not meant).

    Args:
        size: share of the pixels that the target takes, in percent; None if it is never seen.
    """
    tags: dict[str, Any] = {}
    if expression.objects is not None:
        count = len(expression.objects)
        tags["target"] = ("none", "one object")[count] if count < 2 else "several objects"
    relevant = expression.relevant(video.num_frames)
    if relevant is not None and relevant.any():
        tags["relevant_share"] = _bin(100 * float(relevant.mean()), SHARE_BOUNDS)
    if size is not None:
        tags["target_size"] = _bin(size, SIZE_BOUNDS)
    if expression.annotation is not None:
        tags["annotation"] = expression.annotation
    scene = scenes.get(video.name)
    if scene is not None and expression.id in scene["expressions"]:
        known = scene["expressions"][expression.id]
        tags |= {
            "level": scene["level"],
            "kind": known["kind"],
            "appearance_decides": known["appearance_decides"],
            "cues": list(known["cues"]),
            "distractors": len(scene["objects"]) - len(expression.objects or ()),
        }
    return tags


def _bin(value: float, bounds: tuple[int, ...]) -> str:
    at = bisect_right(bounds, value)
    low, high = (0, *bounds)[at], (*bounds, 100)[at]
    return f"{low} to {high} %"

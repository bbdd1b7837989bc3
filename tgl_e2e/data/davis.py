"""Reader of Ref-DAVIS17, converted to the layout of Ref-YouTube-VOS (see `ytvos`).

Each object of a video is described four times, and the expressions stand in the order
object * 4 + annotation: annotator 1 of the first frame, annotator 1 of the whole video, annotator
2 of the first frame, annotator 2 of the whole video. An `ExpressionRecord` says both: `objects`
holds the object (the value of its pixels), `annotation` is 0 to 3. A score is taken per annotation,
of all objects together, and the four are averaged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import VideoDataset
from tgl_e2e.data.ytvos import read_palette_videos

ANNOTATIONS = 4


def read_davis(root: str | Path, split: str) -> VideoDataset:
    """Reads one split (`train`, `valid`), see `read_palette_videos`."""
    return read_palette_videos(root, split, "ref-davis", _annotation)


def _annotation(place: int, expression: Mapping[str, Any]) -> int:
    return place % ANNOTATIONS

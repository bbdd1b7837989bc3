"""What an evaluation left behind, read again for pictures: no network is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgl_e2e.data.base import ExpressionRecord, VideoDataset, VideoRecord
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.draw.overlay import spread
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.submission import read_mask


@dataclass(frozen=True)
class Sample:
    """One expression of one video. index: its place among the video's; row: its entry in
    metrics.json."""

    video: VideoRecord
    index: int
    row: dict[str, Any]

    @property
    def expression(self) -> ExpressionRecord:
        return self.video.expressions[self.index]

    @property
    def name(self) -> str:
        return f"{self.video.name}/{self.expression.id}"

    def frame(self, position: int) -> np.ndarray:
        """(H, W, 3) uint8"""
        return np.asarray(self.video.pictures[position])


class EvaluationFolder:
    """An output folder of tgl_e2e.evaluate.

    Raises:
        InputError: it is none, or its data set is not where it was.
    """

    def __init__(self, folder: Path, label: str | None = None) -> None:
        self.folder = folder
        try:
            content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            self.arguments: dict[str, Any] = content["config"]["arguments"]
            self.rows: list[dict[str, Any]] = content["expressions"]
            model = content["config"]["model"]["name"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder}: no output of tgl_e2e.evaluate in it") from None
        self.label = label or f"{model}, {self.arguments['moments']}"
        self.dataset: VideoDataset = read_dataset(
            self.arguments["dataset"], Path(self.arguments["root"]), self.arguments["split"]
        )

    def sample(self, name: str) -> Sample:
        """By VIDEO/EXPRESSION; InputError if it was not evaluated."""
        for row in self.rows:
            if f"{row['video']}/{row['expression']}" == name:
                return self._sample(row)
        some = ", ".join(f"{row['video']}/{row['expression']}" for row in self.rows[:3])
        raise InputError(f"{self.folder}: has no sample '{name}'; it has {some}, ...")

    def ranked(self) -> list[Sample]:
        """All samples whose score is known, the worst J&F first."""
        known = [row for row in self.rows if row["J&F"] is not None]
        return [self._sample(row) for row in sorted(known, key=lambda row: row["J&F"])]

    def mask(self, sample: Sample, position: int) -> np.ndarray:
        """(H, W) bool: what was predicted; InputError if no masks were written."""
        return read_mask(
            self.folder / "masks", self.dataset.kind, sample.video, sample.index, position
        )

    def _sample(self, row: dict[str, Any]) -> Sample:
        video = self.dataset.video(row["video"])
        index = [e.id for e in video.expressions].index(row["expression"])
        return Sample(video, index, row)


def telling_frames(sample: Sample, count: int) -> list[int]:
    """Positions of up to `count` frames that show a sample: half from its moments, half from the
    rest of the video, ascending."""
    total = sample.video.num_frames
    relevant = sample.expression.relevant(total)
    if relevant is None or relevant.all() or not relevant.any():
        return _spread(np.arange(total), count)
    inside, outside = np.flatnonzero(relevant), np.flatnonzero(~relevant)
    few = min(len(inside), (count + 1) // 2)
    return sorted(_spread(inside, few) + _spread(outside, count - few))


def _spread(positions: Sequence[int], count: int) -> list[int]:
    return [int(positions[i]) for i in spread(len(positions), count)]

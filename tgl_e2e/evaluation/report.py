"""What an evaluation leaves behind: metrics.json, per_expression.csv and a table for the eye."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tgl_e2e.data.base import VideoDataset, VideoRecord
from tgl_e2e.data.datasets import DATASETS
from tgl_e2e.evaluation.davis import matched_scores
from tgl_e2e.evaluation.scores import (
    ExpressionScore,
    breakdown,
    by_target,
    by_video,
    chance_of,
    image_scores,
    summarize,
)
from tgl_e2e.files import write_text

METRICS_VERSION = 2
CSV_COLUMNS = ["video", "expression", "text", "num_frames", "no_target", "answered"]
CSV_COLUMNS += ["J&F", "J", "F", "top1", "chance"]


def report(
    dataset: VideoDataset, videos: Sequence[VideoRecord], finished: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of metrics.json, in the data set's order whatever the order of the results.

    Beside `overall`: `chance`, what top1 is by chance; `by_target`, see `scores.by_target`;
    `images` for RefCOCO/+/g, see `scores.image_scores`; `matched` for Ref-DAVIS17, see
    `davis.matched_scores`; `breakdown` by tags; `videos`; `expressions`.
    """
    results = [finished[video.name] for video in videos]
    scores = [ExpressionScore(**score) for result in results for score in result["scores"]]
    frames, seconds = sum(r["frames"] for r in results), sum(r["seconds"] for r in results)
    content = {
        "version": METRICS_VERSION,
        "dataset": {"name": dataset.kind, "split": dataset.split, "videos": len(videos)},
        "overall": summarize(scores),
        "chance": chance_of(scores),
        "by_target": by_target(scores),
    }
    if DATASETS[dataset.kind].images:
        content["images"] = image_scores(scores)
    if DATASETS[dataset.kind].label_maps:
        content["matched"] = matched_scores([result["matched"] for result in results])
    return content | {
        "breakdown": breakdown(scores),
        "videos": by_video(scores),
        "expressions": [{**asdict(score), "J&F": score.jf} for score in scores],
        "timing": {
            "seconds": round(seconds, 2),
            "frames_per_second": round(frames / seconds, 2) if seconds else None,
        },
    }


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """metrics.json and per_expression.csv; each appears whole or not at all."""
    table = io.StringIO()
    columns = [*CSV_COLUMNS, *content["breakdown"]]
    writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in content["expressions"]:
        writer.writerow({name: _in_cell(x) for name, x in {**row, **row["tags"]}.items()})
    write_text(folder / "per_expression.csv", table.getvalue())
    write_text(folder / "metrics.json", _to_json(content))


def _in_cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return round(value, 4) if isinstance(value, float) else value


def print_report(content: Mapping[str, Any], moments: str) -> None:
    """The compact table. moments: as given on the command line."""
    data, timing = content["dataset"], content["timing"]
    print(f"{data['name']} {data['split']}, {data['videos']} videos, moments: {moments}")
    print(table(content))
    speed = timing["frames_per_second"]
    print(f"{timing['seconds']} s" + (f", {speed} video frames/s" if speed else ""))


def table(content: Mapping[str, Any]) -> str:
    """A compact text table: all expressions, then each tag's values, chance beside top-1."""
    overall = content["overall"]
    rows = [("all", {**overall, "chance": content["chance"]})]
    for tag, values in content["breakdown"].items():
        rows += [(f"{tag}: {value}", summary) for value, summary in values.items()]
    width = max(len(name) for name, _ in rows)
    heads = ["J&F", "J", "F", "top-1", "chance", "count"]
    lines = [" " * width + "".join(f"{head:>8}" for head in heads)]
    for name, summary in rows:
        values = [summary[key] for key in ("J&F", "J", "F", "top1", "chance")]
        cells = "".join(f"{_shown(value):>8}" for value in values)
        lines.append(f"{name:<{width}}{cells}{summary['num_expressions']:>8}")
    retrieval = ("R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75")
    lines.append("moments: " + _in_line(overall, retrieval))
    if content["by_target"]["no_target"]["num_expressions"]:
        having, without = content["by_target"].values()
        lines.append(
            f"with target: {_in_line(having, ('J&F', 'T-acc'))}; "
            f"without: {_in_line(without, ('J&F', 'N-acc'))}"
        )
    if "images" in content:
        lines.append("images: " + _in_line(content["images"], content["images"]))
    if "matched" in content:
        lines.append(
            "objects matched as by davis2017-evaluation (unsupervised): "
            + _in_line(content["matched"], content["matched"])
        )
    return "\n".join(lines)


def _in_line(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    return "  ".join(f"{key} {_shown(values[key])}" for key in keys)


def _to_json(content: Mapping[str, Any]) -> str:
    """Indented JSON, but with one line per video and per expression."""
    parts = []
    for key, value in content.items():
        if key == "videos":
            lines = [f"{json.dumps(name)}: {json.dumps(video)}" for name, video in value.items()]
            text = "{\n  " + ",\n  ".join(lines) + "\n }"
        elif key == "expressions":
            text = "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        else:
            text = json.dumps(value, indent=1).replace("\n", "\n ")
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

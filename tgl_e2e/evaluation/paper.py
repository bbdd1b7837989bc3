"""The paper's tables, as paper.yaml has them, filled with evaluations found on disk."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from pathlib import Path
from typing import Any

import yaml

from tgl_e2e.data.datasets import DATASETS
from tgl_e2e.errors import InputError

# What train.py is told to leave a part of the method out, which tables read back from its values.
SWITCH_OFF = {
    "sampling": "moment_sampling=false",
    "spacing": "even_spacing=false",
    "mdp": "model.memory.dual_path=false",
    "oss": "selective=false",
    "mfe": "model.memory.mfe=false",
    "bank": "model.memory.bank=all",
    "tam": "tam_weight=0",
    "temporal": "model.adapter.temporal=false",
}
FULL = frozenset(SWITCH_OFF)
TOP_K = (1, 2, 4, 8, 16, 32)
_OWN = re.compile(r"(auto|all|(oracle\+?)?(top-k:\d+)?)")  # --moments without a file


@dataclass(frozen=True)
class Row:
    """One line of a table.

    moments: of the evaluations that belong here, see `kind_of_moments`.
    without: parts of FULL that their networks lack.
    paper: the paper's numbers, as {split or data set: {score: number}}.
    paper_label: what the paper's number is of, where that is not the same.
    """

    label: str
    moments: str
    without: Sequence[str] = ()
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    paper_label: str = ""

    def holds(self, moments: str, switches: frozenset[str]) -> bool:
        """Whether an evaluation belongs here."""
        return kind_of_moments(moments) == self.moments and switches == FULL - {*self.without}


@dataclass(frozen=True)
class Table:
    """columns: scores by split, or by data set if `across_datasets`. note: what a reader must
    know."""

    number: int
    title: str
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[Row]
    note: str = ""
    parameters: bool = False
    across_datasets: bool = False


@cache
def tables() -> tuple[Table, ...]:
    """Tables 1 to 7."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(
        Table(**{**table, "rows": [Row(**row) for row in table["rows"]]}) for table in content
    )


def kind_of_moments(moments: str) -> str:
    """What was given to `--moments`; a file of intervals is "given", whatever its name."""
    if _OWN.fullmatch(moments):
        return moments
    file, inside, k = moments.rpartition("+top-k:")
    return f"given{inside}{k}" if file else "given"


# Our own numbers


@dataclass(frozen=True)
class Run:
    """One metrics.json: what was evaluated, and its scores in percent.

    switches: what the network has, of FULL. parameters: total and tam.
    config: what the numbers come from, as the file has it.
    """

    dataset: str
    split: str
    videos: int
    level: str | None
    model: str
    moments: str
    switches: frozenset[str]
    parameters: dict[str, int]
    scores: dict[str, float | None]
    config: dict[str, Any]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """All evaluations below some folders.

    Raises:
        InputError: a folder is not there or holds none, or a metrics.json is of another program.
    """
    runs = []
    for folder in folders:
        paths = sorted(folder.rglob("metrics.json"))
        if not paths:
            raise InputError(f"{folder}: no metrics.json below it; evaluate into it first")
        runs += [read_run(path) for path in paths]
    return runs


def read_run(path: Path) -> Run:
    """One metrics.json; InputError if it is of another program or version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config, data = content["config"], content["dataset"]
        matched = content.get("matched", {})
        levels = list(content["breakdown"].get("level", {}))
        return Run(
            dataset=data["name"],
            split=data["split"],
            videos=data["videos"],
            level=levels[0] if len(levels) == 1 else None,
            model=config["model"]["name"],
            moments=config["arguments"]["moments"],
            switches=switches_of(config["model"], config["training"] or {}),
            parameters=content["parameters"],
            scores=content["overall"] | (matched if matched.get("J&F") is not None else {}),
            config=config,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: not of this version of tgl_e2e.evaluate; evaluate again"
        ) from None


def switches_of(model: dict[str, Any], training: dict[str, Any]) -> frozenset[str]:
    """What a network and its training have of FULL; not said means the full method."""
    # Trainings from before there was a choice drew frames one by one.
    values = {"even_spacing": not training, **training, "model": model}
    off = set()
    for name, switch in SWITCH_OFF.items():
        key, value = switch.split("=")
        found = reduce(lambda part, one: part.get(one, {}), key.split("."), values)
        if found == yaml.safe_load(value):
            off.add(name)
    return FULL - off


def tell(table: Table, runs: Sequence[Run], markdown: bool = False) -> str:
    """A table as text, once per data set and kind of network; the paper's number after a slash."""
    parts = []
    for dataset, model in sorted(
        {("" if table.across_datasets else r.dataset, r.model) for r in runs}
    ):
        mine = [r for r in runs if r.model == model and dataset in ("", r.dataset)]
        lines = _cells(table, mine)
        if all(cell.startswith("-") for line in lines[1:] for cell in line[2:]):
            continue
        text = _markdown(lines) if markdown else _aligned(lines)
        parts.append(f"{_heading(table, mine, dataset, model)}\n{text}")
    nothing = f"Table {table.number}. {table.title}: nothing was evaluated for it"
    return "\n\n".join(parts) or nothing


def _heading(table: Table, runs: Sequence[Run], dataset: str, model: str) -> str:
    lines = [f"Table {table.number}. {table.title}. Ours / the paper's."]
    if dataset:
        sets = sorted({(r.split, r.videos, r.level or "") for r in runs}, reverse=True)
        shown = ", ".join(
            f"{split} of {videos} videos" + (f" (level {level})" if level else "")
            for split, videos, level in sets
        )
        lines.append(f"Ours: {model} on {dataset}, {shown}. The paper's: Hiera-B on MeViS.")
    if any(r.dataset in DATASETS and DATASETS[r.dataset].synthetic for r in runs):
        lines.append(
            "`motion` is synthetic and not MeViS, and neither are the networks alike: "
            "compare rows, not numbers."
        )
    return "\n".join([*lines, table.note + "."] if table.note else lines)


def _cells(table: Table, runs: Sequence[Run]) -> list[list[str]]:
    columns = [(place, score) for place, scores in table.columns.items() for score in scores]
    alone = len(table.columns) == 1
    lines = [["", "paper's row", *(s if alone else f"{place} {s}" for place, s in columns)]]
    if table.parameters:
        lines[0].append("parameters (of them TAM)")
    for row in table.rows:
        found = [r for r in runs if row.holds(r.moments, r.switches)]
        line = [row.label, row.paper_label or ("the same" if row.paper else "")]
        for place, score in columns:
            here = [r for r in found if place == (r.dataset if table.across_datasets else r.split)]
            paper = row.paper.get(place, {}).get(score)
            line.append(_cell([r.scores.get(score) for r in here], paper))
        if table.parameters:
            sizes = sorted({(r.parameters["total"], r.parameters["tam"]) for r in found})
            line.append(", ".join(f"{t / 1e6:.1f} M ({m / 1e6:.1f} M)" for t, m in sizes) or "-")
        lines.append(line)
    return lines


def _cell(values: Sequence[float | None], paper: float | None) -> str:
    """Mean of ours, with the standard deviation over several runs, then the paper's."""
    known = [v for v in values if v is not None and not math.isnan(v)]
    ours = f"{statistics.fmean(known):.1f}" if known else "-"
    if len(known) > 1:
        ours += f" ± {statistics.stdev(known):.1f} (n = {len(known)})"
    return ours if paper is None else f"{ours} / {paper:.1f}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for line in lines:
        cells = zip(line, widths, strict=True)
        padded = [f"{x:<{w}}" if i < 2 else f"{x:>{w}}" for i, (x, w) in enumerate(cells)]
        rows.append("  ".join(padded).rstrip())
    return "\n".join(rows)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])

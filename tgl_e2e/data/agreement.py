"""How far annotators agree on moments: temporal IoU of what two of them said about the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from tgl_e2e.data.annotations import FOUND, read_annotations
from tgl_e2e.data.base import Span
from tgl_e2e.data.moments_json import Moments, entries_of, read_moments, shown, unite
from tgl_e2e.errors import InputError
from tgl_e2e.metrics import region_similarity
from tgl_e2e.moments import inside


@dataclass(frozen=True)
class Pair:
    """One object of one expression, marked by two annotators. iou: in [0, 1]."""

    names: tuple[str, str]
    where: str
    spans: tuple[Sequence[Span], Sequence[Span]]
    iou: float


def temporal_iou(first: Sequence[Span], second: Sequence[Span]) -> float:
    """Frames that both name by frames that any names; 1 where neither names one."""
    frames = np.arange(max((end for _, end in (*first, *second)), default=-1) + 1)
    return region_similarity(inside(frames, first)[None], inside(frames, second)[None])


def read_annotators(paths: Sequence[Path]) -> dict[str, Moments]:
    """Annotator -> moments, from annotations.jsonl (expressions that were called done) and from
    moments.json files, an annotator each.

    Raises:
        InputError: a file cannot be read, or there are fewer than two annotators.
    """
    found: dict[str, Moments] = {}
    for path in paths:
        if path.suffix != ".jsonl":
            found[str(path)] = read_moments(path)
            continue
        for (video, expression), latest in read_annotations(path).items():
            for name, annotation in latest.items():
                if name != FOUND and annotation.state == "done":
                    known = found.setdefault(name, {}).setdefault(video, {})
                    known[expression] = annotation.objects
    if len(found) < 2:
        who = f"only {next(iter(found))}" if found else "nobody"
        raise InputError(
            f"{', '.join(map(str, paths))}: {who} has called an expression done there; agreement "
            "needs two annotators: give annotations.jsonl, or one moments.json of each"
        )
    return found


def compare(annotators: Mapping[str, Moments]) -> list[Pair]:
    """Every object that two of them have marked, in every pair of annotators."""
    pairs = []
    for one, other in combinations(annotators, 2):
        for video, expression, objects in entries_of(annotators[one]):
            others = annotators[other].get(video, {}).get(expression)
            for obj in sorted({*objects, *others}) if others is not None else ():
                spans = objects.get(obj, []), others.get(obj, [])
                where = f"video {video}, expression {expression}, object {obj}"
                pairs.append(Pair((one, other), where, spans, temporal_iou(*spans)))
    return pairs


def report(pairs: Sequence[Pair], worst: int) -> list[str]:
    """Lines for people: the mean of each pair of annotators, then where they differ most."""
    lines = []
    for names in dict.fromkeys(pair.names for pair in pairs):
        values = [pair.iou for pair in pairs if pair.names == names]
        half = sum(value >= 0.5 for value in values)
        lines.append(
            f"{names[0]} and {names[1]}: temporal IoU {sum(values) / len(values):.3f} in "
            f"{len(values)} objects, {half} of them at 0.5 or above"
        )
    if not pairs:
        return ["no expression was marked by two annotators"]
    for pair in sorted(pairs, key=lambda pair: pair.iou)[:worst]:
        if pair.iou < 1:
            says = (f"{n} {shown(unite(s))}" for n, s in zip(pair.names, pair.spans, strict=True))
            lines.append(f"{pair.iou:.2f}  {pair.where}: {'; '.join(says)}")
    return lines

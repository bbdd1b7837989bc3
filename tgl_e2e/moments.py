"""Which frames are M+: the `moments` argument, and the way between frames and intervals.

Intervals are inclusive and in frame numbers of the original video, counted from 0.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Literal

import numpy as np

from tgl_e2e.errors import InputError
from tgl_e2e.files import read_json

Intervals = tuple[tuple[int, int], ...]

MODES = "auto, all, top-k:4, a JSON file of intervals, or FILE+top-k:4"


@dataclass(frozen=True)
class MomentsSpec:
    """How M+ is found.

    kind: `auto` (the network's own relevance), `all` (every frame), `top-k` (the k frames of
        highest relevance), `intervals` (as given), `intervals+top-k` (the best k inside them)
    k: of the two top-k kinds
    intervals: of the two interval kinds; one tuple of intervals for all texts, one per text, or
        a list with one per place in the list of texts (see `moments_in_order`)
    origin: where the intervals come from, for messages
    """

    kind: Literal["auto", "all", "top-k", "intervals", "intervals+top-k"]
    k: int | None = None
    intervals: Intervals | Mapping[str, Intervals] | list[Intervals] | None = None
    origin: str = "moments"

    def intervals_for(self, texts: Sequence[str]) -> list[Intervals]:
        """The given intervals of each text, in order.

        Raises:
            InputError: they are given by place, for another number of texts; or by text, and one
                of these is missing.
        """
        given = self.intervals
        if isinstance(given, tuple):
            return [given] * len(texts)
        if isinstance(given, Mapping):
            for text in texts:
                if text not in given:
                    known = ", ".join(f'"{t}"' for t in list(given)[:3]) or "no text at all"
                    raise InputError(
                        f'{self.origin}: no intervals for "{text}" (it has {known}); add them, '
                        f"or use the very words of the file"
                    )
            return [given[text] for text in texts]
        if len(given) != len(texts):
            raise InputError(
                f"{self.origin}: intervals for {len(given)} texts, but {len(texts)} texts "
                f"are given; give one list of intervals per text, in the same order"
            )
        return given


def parse_moments(spec: object, k: int | None = None) -> MomentsSpec:
    """A MomentsSpec from what a user may write.

    spec: "auto", "all", "top-k:4", the path of a JSON file, "FILE+top-k:4"; or as Python objects a
        list of intervals [(start, end), ...] for all texts, a dict {text: [(start, end), ...]}
    k: with intervals given as objects, takes the best k frames inside them
    The JSON file holds such a list, such a dict, or is the result.json of an earlier run.
    Raises InputError for everything else.
    """
    if isinstance(spec, MomentsSpec):
        return spec
    if isinstance(spec, (str, os.PathLike)):
        return _parse_text(os.fspath(spec))
    kind = "intervals" if k is None else "intervals+top-k"
    k = None if k is None else _positive(str(k), "moments")
    return MomentsSpec(kind, k, _read_intervals(spec, "moments"))


def moments_in_order(intervals: Sequence[Sequence], k: int | None = None) -> MomentsSpec:
    """A MomentsSpec with intervals of their own for the first, second, ... text: for data sets,
    where the same words stand for several expressions.

    intervals: one list [(start, end), ...] per text, empty where nothing is meant
    k: takes the best k frames inside them
    """
    kind = "intervals" if k is None else "intervals+top-k"
    return MomentsSpec(kind, k, [_interval_list(one, "moments") for one in intervals])


def check_inside(spec: MomentsSpec, num_frames: int, texts: Sequence[str]) -> None:
    """InputError if a given interval of these texts ends outside a video of `num_frames` frames."""
    groups = spec.intervals_for(texts) if spec.intervals is not None else ()
    for start, end in (interval for group in groups for interval in group):
        if end >= num_frames:
            raise InputError(
                f"{spec.origin}: the interval [{start}, {end}] lies outside the video, whose last "
                f"frame is {num_frames - 1}; give frame numbers (not seconds) of this video"
            )


def spans(frames: np.ndarray, relevant: np.ndarray) -> list[tuple[int, int]]:
    """Runs of relevant frames as inclusive intervals of original frame numbers.

    A run covers from its first to its last processed frame: with a stride, the frames in between
    count as inside.

    frames: (T,) ascending original frame numbers of the processed frames
    relevant: (T,) bool
    """
    edges = np.diff(np.concatenate(([0], np.asarray(relevant, dtype=np.int8), [0])))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [(int(frames[i]), int(frames[j])) for i, j in zip(first, last, strict=True)]


def inside(frames: np.ndarray, intervals: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which frames lie in any of the inclusive intervals.

    frames: (T,) original frame numbers
    returns: (T,) bool
    """
    frames = np.asarray(frames)
    result = np.zeros(frames.shape, dtype=bool)
    for start, end in intervals:
        result |= (frames >= start) & (frames <= end)
    return result


# --- reading -------------------------------------------------------------------------------------


def _parse_text(text: str) -> MomentsSpec:
    if text in ("auto", "all"):
        return MomentsSpec(text)
    match = re.fullmatch(r"(?:(?P<file>.+)\+)?top-k:(?P<k>.*)", text, flags=re.DOTALL)
    if match is None:
        return MomentsSpec("intervals", None, _read_file(text), text)
    k = _positive(match["k"], text)
    if match["file"] is None:
        return MomentsSpec("top-k", k)
    return MomentsSpec("intervals+top-k", k, _read_file(match["file"]), match["file"])


def _positive(number: str, origin: str) -> int:
    if not re.fullmatch(r"[0-9]+", number) or int(number) == 0:
        raise InputError(f'{origin}: "{number}" is no number of frames, give 1 or more: top-k:4')
    return int(number)


def _read_file(name: str) -> Intervals | dict[str, Intervals]:
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{name}: neither a way to choose moments nor a file; give {MODES}")
    content = read_json(path, "it holds intervals", "it should hold [[start, end], ...]")
    return _read_intervals(content, name)


def _read_intervals(content: object, origin: str) -> Intervals | dict[str, Intervals]:
    if isinstance(content, Mapping):
        if isinstance(content.get("expressions"), list):
            content = _of_result(content["expressions"], origin)
        return {str(t): _interval_list(v, f'{origin}, "{t}"') for t, v in content.items()}
    return _interval_list(content, origin)


def _of_result(expressions: list, origin: str) -> dict[str, object]:
    moments: dict[str, object] = {}
    for expression in expressions:
        if not (isinstance(expression, Mapping) and {"text", "moments"} <= expression.keys()):
            raise InputError(f'{origin}: an expression without "text" or "moments", not a result')
        text = expression["text"]
        if moments.setdefault(text, expression["moments"]) != expression["moments"]:
            raise InputError(f'{origin}: "{text}" stands there twice with different moments')
    return moments


def _interval_list(content: object, origin: str) -> Intervals:
    if not _is_list(content) or not all(_is_list(pair) and len(pair) == 2 for pair in content):
        raise InputError(f"{origin}: not a list of intervals, it should be [[start, end], ...]")
    return tuple(_interval(*pair, origin) for pair in content)


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def _interval(start: object, end: object, origin: str) -> tuple[int, int]:
    for value in (start, end):
        if not isinstance(value, Real) or isinstance(value, bool) or value != value // 1:
            raise InputError(f"{origin}: [{start}, {end}] is no interval, give whole frame numbers")
    if not 0 <= start <= end:
        raise InputError(
            f"{origin}: [{start}, {end}] is no interval; frames count from 0, start before end"
        )
    return int(start), int(end)

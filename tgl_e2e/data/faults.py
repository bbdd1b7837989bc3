"""Where readers report what is wrong with a data set: it ends the reading, or it is collected."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tgl_e2e.errors import InputError

EXAMPLES = 3


@dataclass(frozen=True)
class Kind:
    """A kind of fault. what: as a noun; remedy: what to do about it, none for a mere note."""

    what: str
    remedy: str = ""


GET_AGAIN = "get the file again"
UNSAFE_NAME = Kind(
    "no safe name of a file", "rename it in the file: no separators, no names of devices"
)
NO_TEXT = Kind("no text, or none in Unicode", "write it in UTF-8, or remove the expression")
OBJECT_IDS = Kind("obj_id or anno_id damaged", GET_AGAIN)
DAMAGED = Kind("pictures that cannot be read", "extract them again, or restore them")
NO_MASKS = Kind(
    "no masks, though expressions name objects",
    "get them: without masks there is nothing to train on and nothing to score",
)


class Faults:
    """Strict: the first error raises InputError, and warnings pass."""

    def error(self, kind: Kind, path: Path, place: str = "", detail: object = "") -> None:
        """Something that cannot be used: strict readers stop here, others leave it out.

        Args:
            path: the file.
            place: where in the file, e.g. "video clip, expression 0".
            detail: what stands there.
        """
        where = f"{path}: {place}: " if place else f"{path}: "
        shown = f" ({detail})" if detail != "" else ""
        raise InputError(" ".join(f"{where}{kind.what}{shown}; {kind.remedy}".split()))

    def warn(self, kind: Kind, path: Path, place: str = "", detail: object = "") -> None:
        """Something odd, which readers read as it is."""

    def caught(self, kind: Kind, error: InputError) -> None:
        """An error whose message says all: strict readers raise it as it is."""
        raise error


STRICT = Faults()


@dataclass
class Findings(Faults):
    """Collects: counts by kind, with the first examples of each.

    videos, expressions, objects, masks, frames: how much was looked at.
    """

    videos: int = 0
    expressions: int = 0
    objects: int = 0
    masks: int = 0
    frames: int = 0
    _counts: Counter[Kind] = field(default_factory=Counter)
    _examples: dict[Kind, list[str]] = field(default_factory=lambda: defaultdict(list))

    def error(self, kind: Kind, path: Path, place: str = "", detail: object = "") -> None:
        self._add(kind, f"{place or path}: {detail}" if detail != "" else str(place or path))

    warn = error

    def caught(self, kind: Kind, error: InputError) -> None:
        self._add(kind, str(error))

    def _add(self, kind: Kind, example: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= EXAMPLES:
            self._examples[kind].append(" ".join(example.split()))

    @property
    def problems(self) -> int:
        """How many kinds of problem there are; notes are none."""
        return sum(bool(kind.remedy) for kind in self._counts)

    def lines(self) -> list[str]:
        """One line per kind, problems first, and one that sums up."""
        names = ("videos", "expressions", "objects", "masks", "frames")
        count = self.problems
        verdict = f"{count} kind{'s' * (count > 1)} of problem" if count else "no problem"
        kinds = sorted(self._counts, key=lambda kind: not kind.remedy)
        summary = ", ".join(f"{getattr(self, name)} {name}" for name in names)
        return [*map(self._line, kinds), f"{summary}: {verdict}"]

    def _line(self, kind: Kind) -> str:
        examples = "; ".join(self._examples[kind])
        if self._counts[kind] > EXAMPLES:
            examples += "; ..."
        line = f"{kind.what}: {self._counts[kind]} ({examples})"
        remedy = kind.remedy[:1].upper() + kind.remedy[1:]
        return f"problem: {line}. {remedy}." if remedy else f"note: {line}"

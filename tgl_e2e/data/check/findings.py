"""What a check has found: counts and examples, one line per kind."""

from __future__ import annotations

from dataclasses import dataclass, field

EXAMPLES = 3


@dataclass(frozen=True)
class Kind:
    """A kind of finding. what: in the plural; remedy: what to do about it, none for a note."""

    what: str
    remedy: str = ""


@dataclass
class Findings:
    """Counts findings by kind and keeps the first examples of each.

    videos, expressions, objects, masks, frames: how much was looked at.
    """

    videos: int = 0
    expressions: int = 0
    objects: int = 0
    masks: int = 0
    frames: int = 0
    _counts: dict[Kind, int] = field(default_factory=dict)
    _examples: dict[Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, example: str) -> None:
        """Counts one finding."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(" ".join(example.split()))

    def count(self, kind: Kind) -> int:
        """How often something was found."""
        return self._counts.get(kind, 0)

    @property
    def problems(self) -> int:
        """How many kinds of problem there are; notes are none."""
        return sum(1 for kind in self._counts if kind.remedy)

    def lines(self) -> list[str]:
        """One line per kind, problems first, and one that sums up."""
        kinds = sorted(self._counts, key=lambda kind: not kind.remedy)
        summary = ", ".join(
            f"{getattr(self, name)} {name}"
            for name in ("videos", "expressions", "objects", "masks", "frames")
        )
        verdict = "no problem" if not self.problems else f"{self.problems} kinds of problem"
        if self.problems == 1:
            verdict = "1 kind of problem"
        return [*map(self._line, kinds), f"{summary}: {verdict}"]

    def _line(self, kind: Kind) -> str:
        examples = "; ".join(self._examples[kind])
        if self._counts[kind] > EXAMPLES:
            examples += "; ..."
        label = "problem" if kind.remedy else "note"
        line = f"{label}: {kind.what}: {self._counts[kind]} ({examples})"
        return f"{line}. {kind.remedy}" if kind.remedy else line

"""The paper's tables, as paper.yaml has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

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

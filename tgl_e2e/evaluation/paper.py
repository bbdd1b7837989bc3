"""The paper's tables: their rows, its numbers, and which evaluations of ours belong beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# What can be switched off in training or in the network; the full method has all of them.
SWITCHES = ("sampling", "spacing", "mdp", "oss", "mfe", "bank", "tam", "temporal")
FULL = frozenset(SWITCHES)
TOP_K = (1, 2, 4, 8, 16, 32)
SCORES = ("J&F", "J", "F")
RETRIEVAL = ("R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75")


@dataclass(frozen=True)
class Row:
    """One line of a table.

    moments: of the evaluations that belong here; a function of the text given to `--moments`.
    paper: (split, score) -> the paper's number, or (data set, score) in Table 5.
    switches: what the network has, of SWITCHES.
    paper_label: what the paper's number is of, where that is not the same.
    """

    label: str
    moments: Callable[[str], bool]
    paper: Mapping[tuple[str, str], float] = field(default_factory=dict)
    switches: frozenset[str] = FULL
    paper_label: str = ""


@dataclass(frozen=True)
class Table:
    """columns: (split, score); of Table 5 (data set, score). note: what a reader must know."""

    number: int
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    note: str = ""
    parameters: bool = False
    across_datasets: bool = False


def _is(*texts: str) -> Callable[[str], bool]:
    return lambda moments: moments in texts


def _given(k: int | None) -> Callable[[str], bool]:
    """Intervals from a file, with or without top-k inside them."""
    own = re.compile(r"(auto|all|(oracle\+?)?(top-k:\d+)?)")

    def belongs(moments: str) -> bool:
        file, _, inside = moments.rpartition("+top-k:")
        if own.fullmatch(moments):
            return False
        return inside == str(k) if file else k is None

    return belongs


def _both(score: str, valid_u: float | None, valid: float | None) -> dict[tuple[str, str], float]:
    pairs = {("valid_u", score): valid_u, ("valid", score): valid}
    return {key: value for key, value in pairs.items() if value is not None}


def _valid(*scores: float) -> dict[tuple[str, str], float]:
    return {("valid", name): value for name, value in zip(SCORES, scores, strict=False)}


_J_AND_F = (("valid_u", "J&F"), ("valid", "J&F"))
_CROWDED = Row(
    "auto (TAM), trained on frames drawn one by one", _is("auto"), switches=FULL - {"spacing"}
)

TABLE_1 = Table(
    1,
    "Moments from the network, from the data set, and the best frames inside them",
    tuple((split, score) for split in ("valid_u", "valid") for score in SCORES),
    (
        Row(
            "baseline: trained without moments, every frame M+",
            _is("all"),
            _valid(49.5, 46.6, 52.4),
            FULL - {"sampling", "mdp", "oss"},
            "SAMWISE",
        ),
        Row("every frame M+", _is("all")),
        Row("auto (TAM)", _is("auto"), _both("J&F", 59.9, 50.0), paper_label="Table 7, TAM"),
        Row("oracle", _is("oracle"), _both("J&F", 60.8, 53.5) | _valid(53.5, 50.7, 56.3)),
        Row(
            "oracle + top-k:8",
            _is("oracle+top-k:8"),
            _both("J&F", 62.3, 54.8) | _valid(54.8, 52.1, 57.5),
            paper_label="oracle + BLIP-2",
        ),
    ),
    parameters=True,
)
TABLE_2 = Table(
    2,
    "Ablation of the main components, oracle moments",
    (("valid_u", "J&F"),),
    tuple(
        Row(label, _is("oracle"), {("valid_u", "J&F"): number}, FULL - off)
        for label, number, off in (
            ("none", 56.8, {"sampling", "mdp", "oss"}),
            ("moment sampling", 58.0, {"mdp", "oss"}),
            ("moment sampling, MDP", 59.4, {"oss"}),
            ("moment sampling, OSS", 58.3, {"mdp"}),
            ("moment sampling, MDP, OSS", 60.8, set()),
        )
    ),
)
TABLE_3 = Table(
    3,
    "Ablation of MDP, oracle moments",
    (("valid_u", "J&F"),),
    tuple(
        Row(label, _is("oracle"), {("valid_u", "J&F"): number}, FULL - off)
        for label, number, off in (
            ("bank of all frames", 58.0, {"mfe", "bank"}),
            ("bank of M+", 58.9, {"mfe"}),
            ("MFE, bank of all frames", 60.3, {"bank"}),
            ("MFE, bank of M+", 60.8, set()),
        )
    ),
)
TABLE_4 = Table(
    4,
    "Where the moments come from",
    tuple((split, score) for split in ("valid_u", "valid") for score in ("top1", "J&F")),
    (
        Row("auto (TAM)", _is("auto"), _both("J&F", 59.9, 50.0), paper_label="Table 7, TAM"),
        Row("every frame M+", _is("all")),
        *(
            Row(
                f"top-k:{k}",
                _is(f"top-k:{k}"),
                _both("J&F", u, v) | (_both("top1", 73.5, 49.9) if k == 1 else {}),
                paper_label="BLIP-2",
            )
            for k, u, v in zip(
                TOP_K,
                (58.6, 59.8, 60.7, 60.0, 60.3, 60.6),
                (48.4, 48.7, 48.9, 48.8, 48.9, 48.8),
                strict=True,
            )
        ),
        Row("given intervals", _given(None), _both("J&F", 57.6, 50.4), paper_label="Chrono"),
        *(
            Row(
                f"given intervals + top-k:{k}",
                _given(k),
                _both("J&F", u, v),
                paper_label="Chrono + BLIP-2",
            )
            for k, u, v in zip(
                TOP_K,
                (58.6, 59.2, 60.1, 59.7, 59.8, 60.2),
                (51.6, 51.5, 51.6, 51.2, 51.2, 51.3),
                strict=True,
            )
        ),
        Row("oracle", _is("oracle"), _both("J&F", 60.8, 53.5)),
        *(
            Row(
                f"oracle + top-k:{k}",
                _is(f"oracle+top-k:{k}"),
                _both("J&F", u, v),
                paper_label="oracle + BLIP-2",
            )
            for k, u, v in zip(
                TOP_K,
                (62.0, 62.3, 62.9, 62.3, 62.3, 62.7),
                (54.4, 54.6, 54.5, 54.8, 54.6, 54.6),
                strict=True,
            )
        ),
    ),
)
TABLE_5 = Table(
    5,
    "Zero-shot: one checkpoint over several data sets",
    (("ref-youtube-vos", "J&F"), ("ref-davis", "J&F")),
    (
        Row(
            "auto (TAM)",
            _is("auto"),
            {("ref-youtube-vos", "J&F"): 60.3, ("ref-davis", "J&F"): 67.4},
            paper_label="VLM moments",
        ),
        Row(
            "every frame M+",
            _is("all"),
            {("ref-youtube-vos", "J&F"): 56.1, ("ref-davis", "J&F"): 65.4},
            paper_label="SAMWISE",
        ),
    ),
    note="ref-davis: objects matched, as the script that papers use does; Ref-YouTube-VOS valid is "
    "scored by its server alone",
    across_datasets=True,
)
TABLE_6 = Table(
    6,
    "Moment retrieval",
    tuple((split, score) for split in ("valid_u", "valid") for score in (*RETRIEVAL, "J&F")),
    (
        Row(
            "auto (TAM)",
            _is("auto"),
            {
                ("valid_u", key): x
                for key, x in zip(
                    (*RETRIEVAL, "J&F"), (74.7, 61.8, 62.1, 72.8, 60.0, 57.6), strict=True
                )
            }
            | {
                ("valid", key): x
                for key, x in zip(
                    (*RETRIEVAL, "J&F"), (61.3, 53.0, 52.2, 60.6, 51.2, 50.4), strict=True
                )
            },
            paper_label="Chrono",
        ),
        _CROWDED,
    ),
)
TABLE_7 = Table(
    7,
    "The baseline against TAM",
    _J_AND_F,
    (
        Row(
            "baseline: trained without moments, every frame M+",
            _is("all"),
            _both("J&F", 55.5, 49.5),
            FULL - {"sampling", "mdp", "oss"},
            "SAMWISE",
        ),
        Row("the same network, every frame M+", _is("all")),
        Row("auto (TAM)", _is("auto"), _both("J&F", 59.9, 50.0), paper_label="TAM"),
        _CROWDED,
    ),
)
TABLES = (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7)

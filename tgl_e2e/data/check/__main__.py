"""Command line: looks over the folder of a data set and says what is wrong with it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e import cli
from tgl_e2e.data.check import mevis, palette, refcoco
from tgl_e2e.data.check.findings import Findings
from tgl_e2e.data.datasets import DATASETS
from tgl_e2e.errors import InputError

PROGRAM = "python -m tgl_e2e.data.check"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0 clean, 1 problems, 2 it cannot run."""
    parser = cli.Parser(
        prog=PROGRAM,
        description="Looks over the folder of a data set and reports what is wrong with it: a line "
        "per kind of problem, with how often it occurs, the first places, and the remedy. Nothing "
        "is changed.",
        epilog="Exit status: 0 if there is no problem (notes are none), 1 if there is one, "
        "2 if the folder cannot be read as this data set.",
    )
    parser.add_argument("dataset", choices=DATASETS, metavar="DATASET", help=", ".join(DATASETS))
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder that holds the data set")
    parser.add_argument(
        "--split", metavar="S", help="only this split (default: all that are there)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return cli.run(PROGRAM, lambda: _check(options.dataset, options.root, options.split))


def _check(kind: str, root: Path, asked: str | None) -> int:
    """Prints what is found; the exit status."""
    status, splits = cli.OK, find_splits(kind, root)
    for split in [asked] if asked else splits:
        try:
            findings = check(kind, root, split)
        except InputError as error:  # the other splits may do
            cli.say(PROGRAM, f"{split}: {error}")
            status = cli.MISTAKE
            continue
        print("\n".join(f"{split}: {line}" for line in findings.lines()))
        status = max(status, min(findings.problems, 1))
    return status


def find_splits(kind: str, root: Path) -> list[str]:
    """The splits of a data set that are in its folder; InputError if there is none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, give the one that holds the data set")
    match kind:
        case "motion" | "mevis":
            found, place = mevis.splits(root), "<split>/meta_expressions.json"
        case "ref-youtube-vos" | "ref-davis":
            found, place = palette.splits(root), "meta_expressions/<split>/meta_expressions.json"
        case _:
            found, place = refcoco.splits(root, kind), f"{kind}/instances_{kind}_<split>.json"
    if not found:
        raise InputError(f"{root}: no split of {kind} is there, {place} is expected")
    return found


def check(kind: str, root: Path, split: str) -> Findings:
    """All that is wrong with one split; InputError if it cannot be read at all.

    kind: one of ``DATASETS``.
    """
    findings = Findings()
    match kind:
        case "motion" | "mevis":
            mevis.check_split(root, split, findings)
        case "ref-youtube-vos" | "ref-davis":
            palette.check_split(root, split, kind == "ref-davis", findings)
        case _:
            refcoco.check_split(root, kind, split, findings)
    return findings


if __name__ == "__main__":
    sys.exit(main())

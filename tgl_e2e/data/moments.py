"""Command line: moments.json from a spreadsheet and back, united, held against a data set."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tgl_e2e import cli
from tgl_e2e.data.agreement import compare, read_annotators, report
from tgl_e2e.data.annotated import write_subset
from tgl_e2e.data.base import Span, VideoDataset, VideoRecord, VisibleMoments
from tgl_e2e.data.check import look_at_listing
from tgl_e2e.data.datasets import DATASETS, VIDEO_SETS, read_dataset
from tgl_e2e.data.faults import Findings
from tgl_e2e.data.moments_json import merge, read_moments, write_moments
from tgl_e2e.data.moments_table import DELIMITERS, TableError, format_table, read_table
from tgl_e2e.errors import InputError
from tgl_e2e.files import write_text

PROGRAM = "python -m tgl_e2e.data.moments"
Command = Callable[[argparse.Namespace], int | None]
SHOWN = 50  # faults and notes; a table with more has one cause


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 if validate found problems, 2 for bad
    input."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return cli.run(PROGRAM, lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog=PROGRAM,
        description="Moments as a table for people and as moments.json. The table is a CSV file "
        "with the columns video, expression, object, start, end: one interval of frame positions "
        "a row, from 0, inclusive; object * where objects are not told apart; start and end empty "
        "where an object has no moments, object too where the expression has no target.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, text: str, root: bool | None, writes: bool = True):
        """root: whether a data set must be given; None: it cannot."""
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if writes:
            text = "file to write; one that is there is replaced"
            added.add_argument("--output", type=Path, required=True, metavar="FILE", help=text)
        if root is not None:
            text = "folder of a data set to hold ids and frames against"
            added.add_argument("--root", type=Path, required=root, metavar="DIR", help=text)
            added.add_argument("--split", required=root, metavar="S", help="its split")
        return added.add_argument

    add = command("to-json", _to_json, "a table becomes moments.json", False)
    add("file", type=Path, metavar="CSV")
    add = command("to-csv", _to_csv, "moments.json becomes a table", None)
    add("file", type=Path, metavar="JSON")
    text = "between columns (default: %(default)s)"
    add("--delimiter", choices=tuple(DELIMITERS), default="comma", help=text)
    text = "several moments.json become one: frames count that any of them names; where they "
    text += "differ about an object, a line says so"
    command("merge", _merge, text, None)("files", type=Path, nargs="+", metavar="JSON")
    text = "holds moments.json against the expressions of a data set; status 1 if there is a "
    add = command("validate", _validate, text + "problem", True, writes=False)
    add("file", type=Path, metavar="JSON")
    text = "writes the frames in which an object has a mask as its moments: what a reader takes "
    text += "for want of moments.json, looked up once instead of in every run"
    add = command("from-masks", _from_masks, text, True)
    add("dataset", choices=VIDEO_SETS, metavar="DATASET", help=", ".join(VIDEO_SETS))
    text = "writes the annotated expressions of a split in the layout of mevis as a split of their "
    text += "own, to train on or to evaluate before all are done; frames and masks are links"
    add = command("subset", _subset, text, True, writes=False)
    text = "folder of the new split, say DIR/annotated; an earlier subset there is replaced"
    add("--output", type=Path, required=True, metavar="SPLIT_DIR", help=text)
    text = "temporal IoU of annotators who marked the same, and where they differ most"
    add = command("agree", _agree, text, None, writes=False)
    text = "annotations.jsonl of tgl_e2e.app, or a moments.json of each annotator"
    add("files", type=Path, nargs="+", metavar="FILE", help=text)
    add("--worst", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    return parser


def _to_json(options: argparse.Namespace) -> int:
    if (options.root is None) != (options.split is None):
        raise InputError("--root and --split go together; give both or none")
    listing = None
    if options.root is not None:
        dataset = _read_listed(options.root, options.split, None, Findings())
        listing = {video.name: video for video in dataset.videos}
    try:
        moments, notes = read_table(options.file, listing)
    except TableError as error:
        _say(error.faults)
        cli.say(PROGRAM, "nothing was written")
        return cli.MISTAKE
    write_moments(options.output, moments)
    _say(notes)
    return 0


def _to_csv(options: argparse.Namespace) -> None:
    moments = read_moments(options.file)
    write_text(options.output, format_table(moments, DELIMITERS[options.delimiter]))


def _merge(options: argparse.Namespace) -> int:
    merged, conflicts = merge({str(path): read_moments(path) for path in options.files})
    write_moments(options.output, merged)
    _say(conflicts)
    return 0


def _validate(options: argparse.Namespace) -> int:
    findings = Findings()
    look_at_listing(_read_listed(options.root, options.split, options.file, findings), findings)
    print("\n".join(findings.lines()))
    return min(findings.problems, 1)


def _from_masks(options: argparse.Namespace) -> int:
    dataset = read_dataset(options.dataset, options.root, options.split)
    with ThreadPoolExecutor() as pool:  # decoding pictures holds no lock
        found = pool.map(_visible, dataset.videos)
        found = tqdm(found, total=len(dataset.videos), desc=options.split, unit="video")
        moments = {video.name: own for video, own in zip(dataset.videos, found, strict=True)}
    write_moments(options.output, moments)
    return 0


def _agree(options: argparse.Namespace) -> None:
    print("\n".join(report(compare(read_annotators(options.files)), options.worst)))


def _subset(options: argparse.Namespace) -> None:
    print(write_subset(options.root, options.split, options.output))


def _visible(video: VideoRecord) -> dict[str, dict[str, list[Span]]]:
    moments = {}
    for e in video.expressions:
        if e.masks is None or e.objects is None:
            raise InputError(
                f"video {video.name}, expression {e.id}: has no masks; give a split that has them"
            )
        moments[e.id] = {o: list(spans) for o, spans in VisibleMoments(e.masks, e.objects).items()}
    return moments


def _read_listed(root: Path, split: str, moments: Path | None, findings: Findings) -> VideoDataset:
    """What a split lists, in whichever layout; InputError if it is not there.

    No frame and no mask is opened: that is for the check of the whole data set.

    moments: the file to hold against it; None: that of the data set.
    """
    for info in map(DATASETS.get, VIDEO_SETS):
        if info.has(root, split):
            return info.read(root, split, info.name, findings, moments, masks=False)
    expected = {DATASETS[name].listed.format(split=split).replace("*", "") for name in VIDEO_SETS}
    raise InputError(
        f"{root}: has neither {' nor '.join(sorted(expected))}; give root and split of the data set"
    )


def _say(lines: Sequence[str]) -> None:
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    for line in [*lines[:SHOWN], *more]:
        cli.say(PROGRAM, line)


if __name__ == "__main__":
    sys.exit(main())

"""Command line: moments.json from a spreadsheet and back, united, held against a data set."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tgl_e2e import cli
from tgl_e2e.data.agreement import compare, read_annotators, report
from tgl_e2e.data.base import Span, VideoRecord, VisibleMoments
from tgl_e2e.data.check.findings import Findings
from tgl_e2e.data.check.listing import Listed, read_listing
from tgl_e2e.data.check.moments import check_moments
from tgl_e2e.data.datasets import DATASETS, IMAGE_SETS, read_dataset
from tgl_e2e.data.mevis import find_expressions
from tgl_e2e.data.moments_json import merge, read_moments, write_moments
from tgl_e2e.data.moments_table import DELIMITERS, TableError, format_table, read_table
from tgl_e2e.data.ytvos import expressions_path
from tgl_e2e.errors import InputError
from tgl_e2e.files import write_text

PROGRAM = "python -m tgl_e2e.data.moments"
VIDEO_SETS = tuple(kind for kind in DATASETS if kind not in IMAGE_SETS)
SHOWN = 50  # faults and notes; a table with more has one cause


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 if validate found problems, 2 for bad
    input."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return cli.run(PROGRAM, lambda: COMMANDS[options.command](options))


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog=PROGRAM,
        description="Moments as a table for people and as moments.json. The table is a CSV file "
        "with the columns video, expression, object, start, end: one interval of frame positions "
        "a row, from 0, inclusive; object * where objects are not told apart; start and end empty "
        "where an object has no moments, object too where the expression has no target.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help)

    def output(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--output",
            type=Path,
            required=True,
            metavar="FILE",
            help="file to write; one that is there is replaced",
        )

    def dataset(parser: argparse.ArgumentParser, required: bool) -> None:
        parser.add_argument(
            "--root",
            type=Path,
            required=required,
            metavar="DIR",
            help="folder of a data set to hold ids and frames against",
        )
        parser.add_argument("--split", required=required, metavar="S", help="its split")

    to_json = command("to-json", "a table becomes moments.json")
    to_json.add_argument("file", type=Path, metavar="CSV")
    output(to_json)
    dataset(to_json, required=False)
    to_csv = command("to-csv", "moments.json becomes a table")
    to_csv.add_argument("file", type=Path, metavar="JSON")
    to_csv.add_argument(
        "--delimiter",
        choices=tuple(DELIMITERS),
        default="comma",
        help="between columns (default: %(default)s)",
    )
    output(to_csv)
    merging = command(
        "merge",
        "several moments.json become one: frames count that any of them names; where they differ "
        "about an object, a line says so",
    )
    merging.add_argument("files", type=Path, nargs="+", metavar="JSON")
    output(merging)
    validate = command(
        "validate",
        "holds moments.json against the expressions of a data set; status 1 if there is a problem",
    )
    validate.add_argument("file", type=Path, metavar="JSON")
    dataset(validate, required=True)
    from_masks = command(
        "from-masks",
        "writes the frames in which an object has a mask as its moments: what a reader takes for "
        "want of moments.json, looked up once instead of in every run",
    )
    from_masks.add_argument(
        "dataset", choices=VIDEO_SETS, metavar="DATASET", help=", ".join(VIDEO_SETS)
    )
    output(from_masks)
    dataset(from_masks, required=True)
    agree = command("agree", "temporal IoU of annotators of the same, and where they differ most")
    what = "annotations.jsonl of tgl_e2e.app, or a moments.json of each annotator"
    agree.add_argument("files", type=Path, nargs="+", metavar="FILE", help=what)
    agree.add_argument("--worst", type=int, default=10, metavar="N", help="(default: 10)")
    return parser


def _to_json(options: argparse.Namespace) -> int:
    if (options.root is None) != (options.split is None):
        raise InputError("--root and --split go together; give both or none")
    listing = None if options.root is None else find_listing(options.root, options.split)
    try:
        moments, notes = read_table(options.file, listing)
    except TableError as error:
        _say(error.faults)
        print(f"{PROGRAM}: nothing was written", file=sys.stderr)
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
    listing = find_listing(options.root, options.split, findings)
    # Masks are not opened: that is for the check of the whole data set.
    check_moments(options.file, listing, lambda video, expression, obj: None, findings)
    print("\n".join(findings.lines()))
    return min(findings.problems, 1)


def _from_masks(options: argparse.Namespace) -> int:
    dataset = read_dataset(options.dataset, options.root, options.split)
    names = [video.name for video in dataset.videos]
    with ThreadPoolExecutor() as pool:  # decoding pictures holds no lock
        found = pool.map(_visible, dataset.videos)
        bar = tqdm(found, total=len(names), desc=options.split, unit="video")
        moments = dict(zip(names, bar, strict=True))
    write_moments(options.output, moments)
    return 0


def _agree(options: argparse.Namespace) -> None:
    print("\n".join(report(compare(read_annotators(options.files)), options.worst)))


def _visible(video: VideoRecord) -> dict[str, dict[str, list[Span]]]:
    moments = {}
    for expression in video.expressions:
        if expression.masks is None or expression.objects is None:
            raise InputError(
                f"video {video.name}, expression {expression.id}: has no masks; "
                f"give a split that has them"
            )
        seen = VisibleMoments(expression.masks, expression.objects)
        moments[expression.id] = {obj: list(spans) for obj, spans in seen.items()}
    return moments


def find_listing(root: Path, split: str, findings: Findings | None = None) -> Mapping[str, Listed]:
    """The videos of a split, in whichever layout; InputError if there are none."""
    palette = expressions_path(root, split)
    meta_path = palette if palette.exists() else find_expressions(root / split)
    if not meta_path.exists():
        raise InputError(
            f"{root}: has neither {split}/{meta_path.name} nor {palette.relative_to(root)}; "
            f"give root and split of the data set"
        )
    return read_listing(meta_path, root / split / "JPEGImages", findings or Findings())


def _say(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"{PROGRAM}: ... and {len(lines) - SHOWN} more", file=sys.stderr)


COMMANDS = {
    "to-json": _to_json,
    "to-csv": _to_csv,
    "merge": _merge,
    "validate": _validate,
    "from-masks": _from_masks,
    "agree": _agree,
}

if __name__ == "__main__":
    sys.exit(main())

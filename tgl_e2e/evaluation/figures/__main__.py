"""Figures of evaluations: python -m tgl_e2e.evaluation.figures ...

    moments  results/auto --sample VIDEO/EXP --output moments.png
    features results/auto --sample VIDEO/EXP --output features.png
    compare  results/auto results/all --sample VIDEO/EXP --output compare.png
    sheet    results/auto --worst 6 --best 6 --output sheet.png

Each takes output folders of tgl_e2e.evaluate; `features` alone runs the network.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tgl_e2e import cli
from tgl_e2e.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parse_arguments(arguments)

    def command() -> None:
        check_output(args.output)
        args.action(args)
        print(args.output)

    return cli.run("figures", command)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(prog="figures", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="{moments,features,compare,sheet}")
    for action, text in (
        (moments, "the paper's Figure 6: true moments against predicted relevance"),
        (features, "the paper's Figure 7: F_SAM and F_Adp by their principal components"),
        (compare, "the paper's Figure 8: several evaluations side by side"),
        (sheet, "the worst and the best samples of an evaluation"),
    ):
        one = actions.add_parser(action.__name__, help=text)
        one.set_defaults(action=action)
        add, several = one.add_argument, "+" if action in (moments, compare) else 1
        folder = "output folder of tgl_e2e.evaluate"
        add("evaluations", nargs=several, type=Path, metavar="DIR", help=folder)
        add("--labels", nargs="+", metavar="TEXT", help="what to call them")
        add("--output", required=True, type=Path, metavar="FILE")
        if action is sheet:
            add("--worst", type=int, default=6, metavar="N")
            add("--best", type=int, default=6, metavar="N")
        else:
            several, text = "+" if action is moments else 1, "as in per_expression.csv"
            add("--sample", required=True, nargs=several, metavar="VIDEO/EXP", help=text)
        if action is features:
            add("--device", default="cpu")
    return parser.parse_args(arguments)


def moments(args: argparse.Namespace) -> None:
    from tgl_e2e.evaluation.figures.moments import draw_moments

    draw_moments(_opened(args), args.sample, args.output)


def features(args: argparse.Namespace) -> None:
    from tgl_e2e import TGL
    from tgl_e2e.evaluation.figures.sheets import draw_features

    (evaluation,) = _opened(args)
    model = TGL.from_pretrained(evaluation.arguments["checkpoint"], device=args.device)
    write(args.output, draw_features(model, evaluation, args.sample[0]))


def compare(args: argparse.Namespace) -> None:
    from tgl_e2e.evaluation.figures.sheets import draw_comparison

    write(args.output, draw_comparison(_opened(args), args.sample[0]))


def sheet(args: argparse.Namespace) -> None:
    from tgl_e2e.evaluation.figures.sheets import draw_sheet

    (evaluation,) = _opened(args)
    if min(args.worst, args.best) < 0 or args.worst + args.best == 0:
        raise InputError("--worst and --best: give how many samples, one or more in all")
    if not evaluation.ranked():
        raise InputError(f"{evaluation.folder}: no sample has a score, the split has no masks")
    write(args.output, draw_sheet(evaluation, args.worst, args.best))


def _opened(args: argparse.Namespace):
    from tgl_e2e.evaluation.figures.samples import EvaluationFolder

    labels = args.labels or [None] * len(args.evaluations)
    if len(labels) != len(args.evaluations):
        raise InputError(f"--labels: {len(labels)} for {len(args.evaluations)} evaluations")
    return [EvaluationFolder(f, x) for f, x in zip(args.evaluations, labels, strict=True)]


def check_output(path: Path) -> None:
    """InputError, before any work, for a file that could not be written."""
    if path.suffix != ".png":
        raise InputError(f"--output {path}: give a name that ends in .png")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--output {path}: {path.parent} is no folder that can be written to")


def write(path: Path, picture: np.ndarray) -> None:
    """A PNG."""
    Image.fromarray(picture).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())

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

from PIL import Image

from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.files import replacing

FIGURES = {
    "moments": "the paper's Figure 6: true moments against predicted relevance",
    "features": "the paper's Figure 7: F_SAM and F_Adp by their principal components",
    "compare": "the paper's Figure 8: several evaluations side by side",
    "sheet": "the worst and the best samples of an evaluation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parse_arguments(arguments)
    return cli.run("figures", lambda: draw(args))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(prog="figures", description=__doc__)
    figures = parser.add_subparsers(required=True, dest="figure")
    for name, text in FIGURES.items():
        add = figures.add_parser(name, help=text).add_argument
        several = "+" if name in ("moments", "compare") else 1
        text = "output folder of tgl_e2e.evaluate"
        add("evaluations", nargs=several, type=Path, metavar="DIR", help=text)
        add("--labels", nargs="+", metavar="TEXT", help="what to call them")
        add("--output", required=True, type=Path, metavar="FILE")
        if name == "sheet":
            add("--worst", type=int, default=6, metavar="N")
            add("--best", type=int, default=6, metavar="N")
        else:
            several, text = "+" if name == "moments" else 1, "as in per_expression.csv"
            add("--sample", required=True, nargs=several, metavar="VIDEO/EXP", help=text)
        if name == "features":
            add("--device", default="cpu")
    return parser.parse_args(arguments)


def draw(args: argparse.Namespace) -> None:
    """Writes the figure.

    Raises:
        InputError: an evaluation or a sample is not there; the file cannot be written.
    """
    from tgl_e2e import TGL
    from tgl_e2e.evaluation.figures.moments import draw_moments
    from tgl_e2e.evaluation.figures.samples import EvaluationFolder
    from tgl_e2e.evaluation.figures.sheets import draw_comparison, draw_features, draw_sheet

    check_output(args.output)
    labels = args.labels or [None] * len(args.evaluations)
    if len(labels) != len(args.evaluations):
        raise InputError(f"--labels: {len(labels)} for {len(args.evaluations)} evaluations")
    found = [EvaluationFolder(f, x) for f, x in zip(args.evaluations, labels, strict=True)]
    with replacing(args.output) as partial:
        if args.figure == "moments":
            draw_moments(found, args.sample, partial)
        else:
            if args.figure == "features":
                model = TGL.from_pretrained(found[0].arguments["checkpoint"], device=args.device)
                picture = draw_features(model, found[0], args.sample[0])
            elif args.figure == "compare":
                picture = draw_comparison(found, args.sample[0])
            else:
                picture = draw_sheet(found[0], args.worst, args.best)
            Image.fromarray(picture).save(partial, format="png", optimize=True)
    print(args.output)


def check_output(path: Path) -> None:
    """InputError, before any work, for a file that could not be written."""
    if path.suffix != ".png":
        raise InputError(f"--output {path}: give a name that ends in .png")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--output {path}: {path.parent} is no folder that can be written to")


if __name__ == "__main__":
    sys.exit(main())

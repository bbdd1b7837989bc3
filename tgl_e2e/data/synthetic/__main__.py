"""Command line: writes one split of the synthetic data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e.errors import InputError, OneLineParser

from .record import LARGEST, SMALLEST, Recording
from .scene import LEVELS, SPLITS
from .write import SEEDS_APART, write_split


def _size(text: str) -> tuple[int, int]:
    """256 or 360x640 -> (H, W)"""
    try:
        sides = [int(part) for part in text.split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give 256 or 360x640")
    return sides[0], sides[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = OneLineParser(
        prog="python -m tgl_e2e.data.synthetic",
        description="Writes synthetic videos with expressions, exact masks and exact moments: "
        "<output>/<split>/ in the layout of MeViS, with moments.json and scenes.json.",
        epilog="valid_u has train's distribution and other scenes. In valid each first expression "
        "with a target is about a pair of colour or shape and motion that train never shows; its "
        "videos are longer and have more objects.",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to write to"
    )
    parser.add_argument("--split", choices=SPLITS, required=True, help="which split to write")
    parser.add_argument("--videos", type=int, default=50, metavar="N", help="how many (default 50)")
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed, other videos (default 1)"
    )
    parser.add_argument("--level", choices=LEVELS, default="full", help="difficulty (default full)")
    parser.add_argument(
        "--size",
        type=_size,
        default=(256, 256),
        metavar="PIXELS",
        help="side of the frames, or HEIGHTxWIDTH (default 256)",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="length of every video")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="keep every N-th frame: all things move N times as fast (default 1)",
    )
    parser.add_argument(
        "--crf",
        type=int,
        metavar="N",
        help="send the frames through H.264 of this quality, 0 to 51 (the worst)",
    )
    parser.add_argument(
        "--clutter", action="store_true", help="backgrounds as cluttered as photographs"
    )
    options = parser.parse_args(arguments)
    for name, value, low, high in (
        ("videos", options.videos, 1, SEEDS_APART),
        ("seed", options.seed, 0, 2**31),
        *(("size", side, SMALLEST, LARGEST) for side in options.size),
        ("frames", options.frames, 24, 10_000),
        ("every", options.every, 1, 12),
        ("crf", options.crf, 0, 51),
    ):
        if value is not None and not low <= value <= high:
            parser.error(f"--{name} is {value}: give a number from {low} to {high}")
    if options.crf is not None and (options.size[0] % 2 or options.size[1] % 2):
        parser.error("--crf needs even sides: change --size")
    recording = Recording(options.size, options.frames, options.every, options.crf, options.clutter)
    try:
        report = write_split(
            options.output, options.split, options.videos, options.seed, options.level, recording
        )
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{options.output / options.split}\n{report.text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Command line: writes one split of the synthetic data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e import cli

from .record import LARGEST, SMALLEST, Recording
from .scene import LEVELS, SPLITS
from .sprites import read_sprites
from .write import SEEDS_APART, write_split

PROG = "python -m tgl_e2e.data.synthetic"


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    """256 or 360x640 or several of these with commas -> (H, W) of each"""
    found = []
    for one in text.split(","):
        try:
            sides = [int(part) for part in one.split("x")]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2):
            raise argparse.ArgumentTypeError(f"{one!r} is no size; give 256 or 360x640")
        found.append((sides[0], sides[-1]))
    return tuple(found)


def _folders(text: str) -> list[Path]:
    return [Path(part) for part in text.split(",") if part]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog=PROG,
        description="Writes synthetic videos with expressions, exact masks and exact moments: "
        "<output>/<split>/ in the layout of MeViS, with moments.json and scenes.json.",
        epilog="valid_u has train's distribution and other scenes. In valid each first expression "
        "with a target is about a pair of colour or shape and motion that train never shows; its "
        "videos are longer and have more objects. Of scenes, valid_u shows objects and backgrounds "
        "that train never shows.",
    )
    parser.add_argument(
        "--kind",
        choices=("motion", "scenes"),
        default="motion",
        help="drawn shapes, or real objects before photographs (default motion)",
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
        type=_sizes,
        default=((256, 256),),
        metavar="PIXELS",
        help="side of the frames, or HEIGHTxWIDTH; several with commas: one for each video in turn "
        "(default 256)",
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
    real = parser.add_argument_group("scenes", "what objects and backgrounds are taken from")
    for name, what in (
        ("coco", "folders in COCO's format, instances_train.json (or instances.json) in each"),
        ("cutouts", "folders of RGBA cut-outs with names.json: file name -> noun"),
        ("backgrounds", "folders of photographs"),
    ):
        real.add_argument(f"--{name}", type=_folders, default=[], metavar="DIR[,DIR]", help=what)
    options = parser.parse_args(arguments)
    for name, value, low, high in (
        ("videos", options.videos, 1, SEEDS_APART),
        ("seed", options.seed, 0, 2**31),
        *(("size", side, SMALLEST, LARGEST) for size in options.size for side in size),
        ("frames", options.frames, 24, 10_000),
        ("every", options.every, 1, 12),
        ("crf", options.crf, 0, 51),
    ):
        if value is not None and not low <= value <= high:
            parser.error(f"--{name} is {value}: give a number from {low} to {high}")
    if options.crf is not None and any(side % 2 for size in options.size for side in size):
        parser.error("--crf needs even sides: change --size")
    roots = [*options.coco, *options.cutouts, *options.backgrounds]
    if (options.kind == "scenes") != bool(roots):
        parser.error("--kind scenes takes --coco, --cutouts, --backgrounds, --kind motion none")
    if options.kind == "scenes" and (options.split == "valid" or options.clutter):
        parser.error("--kind scenes has the splits train and valid_u, and no --clutter")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = parse_arguments(arguments)
    roots = [*options.coco, *options.cutouts, *options.backgrounds]
    size, *others = options.size
    recording = Recording(
        size, options.frames, options.every, options.crf, options.clutter, tuple(others)
    )

    def write() -> None:
        sprites = read_sprites(roots, options.split) if roots else None
        report = write_split(
            options.output,
            options.split,
            options.videos,
            options.seed,
            options.level,
            recording,
            sprites,
        )
        print(f"{options.output / options.split}\n{report.text()}")

    return cli.run(PROG, write)


if __name__ == "__main__":
    sys.exit(main())

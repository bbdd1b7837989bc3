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
from .write import SEEDS_APART, write_sample, write_split

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
    add = parser.add_argument
    what = "drawn shapes, or real objects before photographs (default motion)"
    add("--kind", choices=("motion", "scenes"), default="motion", help=what)
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    add("--split", choices=SPLITS, required=True, help="which split to write")
    add("--videos", type=int, default=50, metavar="N", help="how many (default 50)")
    add("--seed", type=int, default=1, help="another seed, other videos (default 1)")
    add("--level", choices=LEVELS, default="full", help="difficulty (default full)")
    what = "side of the frames, or HEIGHTxWIDTH; several with commas: one for each video in turn"
    square = ((256, 256),)
    add("--size", type=_sizes, default=square, metavar="PIXELS", help=f"{what} (default 256)")
    add("--frames", type=int, metavar="N", help="length of every video")
    what = "keep every N-th frame: all things move N times as fast (default 1)"
    add("--every", type=int, default=1, metavar="N", help=what)
    what = "send the frames through H.264 of this quality, 0 to 51 (the worst)"
    add("--crf", type=int, metavar="N", help=what)
    add("--clutter", action="store_true", help="backgrounds as cluttered as photographs")
    what = "write one drawn scene, that of --seed, as the video file --output; say its expressions"
    add("--sample", action="store_true", help=what)
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
    scenes = options.kind == "scenes"
    options.roots = [*options.coco, *options.cutouts, *options.backgrounds]
    if scenes != bool(options.roots):
        parser.error("--kind scenes takes --coco, --cutouts, --backgrounds, --kind motion none")
    if scenes and (options.split == "valid" or options.clutter):
        parser.error("--kind scenes has the splits train and valid_u, and no --clutter")
    if scenes and options.sample:
        parser.error("--sample writes a scene of --kind motion")
    return options


def _write(options: argparse.Namespace) -> None:
    size, *others = options.size
    recording = Recording(
        size, options.frames, options.every, options.crf, options.clutter, tuple(others)
    )
    output, split, level = options.output, options.split, options.level
    if options.sample:
        print(write_sample(output, split, options.seed, level, recording))
        return
    sprites = read_sprites(options.roots, split) if options.roots else None
    report = write_split(output, split, options.videos, options.seed, level, recording, sprites)
    print(f"{output / split}\n{report.text()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = parse_arguments(arguments)
    return cli.run(PROG, lambda: _write(options))


if __name__ == "__main__":
    sys.exit(main())

"""Simple clips that the synthetic set has no part in: flat shapes drawn by Pillow, in pure colours.

    python -m tgl_e2e.data.plain --output data/plain --split valid_u --videos 30
    python -m tgl_e2e.data.plain --output data/photos --split valid_u --pictures holiday/

What a newcomer tries first, in MeViS's layout: one to three shapes before a plain colour or a
photograph, at video sizes, through H.264; sentences about looks, looks with movement, and such that
nothing fulfils. Another renderer, other motion curves, other colours and frame sizes than
training's: what a network scores here it has not learned by heart.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from tgl_e2e import cli
from tgl_e2e.data.coco import opened
from tgl_e2e.data.nouns import pick
from tgl_e2e.data.split_writer import Told, new_split
from tgl_e2e.data.synthetic.record import through_h264
from tgl_e2e.errors import InputError

# Pillow's own, those of style sheets.
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
SHAPES = {"circle": 60, "square": 4, "triangle": 3, "star": 10}  # corners
DENT = 0.45  # every second corner of a star, to its radius
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
ACTIONS = {
    "left": ("moving to the left", "that moves left"),
    "right": ("moving right", "that goes to the right"),
    "up": ("moving up", "that moves up"),
    "down": ("moving down", "going down"),
    "jump": ("that jumps", "jumping"),
    "grow": ("that grows", "growing"),
    "shrink": ("that shrinks", "shrinking"),
    "spin": ("that spins", "spinning"),
}
BACKGROUNDS = ("dimgray", "darkslategray", "lightgray", "tan", "black", "lavender")
SIZES = ((360, 640), (480, 480), (480, 640))  # (H, W)
LENGTHS = (36, 48, 60)
CRF = 28
REACH = 0.28  # of the frame's height: how far a thing moves


@dataclass(frozen=True)
class Thing:
    """A shape that does one thing in the frames first..last and rests otherwise (action None:
    throughout). x, y, radius in pixels."""

    colour: str
    shape: str
    action: str | None
    x: float
    y: float
    radius: float
    first: int
    last: int


def draw_things(rng: np.random.Generator, size: tuple[int, int], length: int) -> list[Thing]:
    """One to three shapes side by side, no two alike."""
    height, width = size
    count = int(rng.choice((1, 2, 2, 3)))
    looks = rng.choice(len(COLOURS) * len(SHAPES), count, replace=False)
    things = []
    for place, look in enumerate(looks):
        shape = tuple(SHAPES)[look % len(SHAPES)]
        actions = [None, *(a for a in ACTIONS if not (a == "spin" and shape == "circle"))]
        last = length - 1 if rng.random() < 0.5 else 3 * length // 4
        action, radius = pick(actions, rng), rng.uniform(0.09, 0.15) * height
        x = (place + 0.5 + rng.uniform(-0.15, 0.15)) / count * width
        y = rng.uniform(0.35, 0.65) * height
        room = radius + REACH * height  # what leaves the picture is not there to be segmented
        x = max(x, room) if action == "left" else min(x, width - room) if action == "right" else x
        y = max(y, room) if action == "up" else min(y, height - room) if action == "down" else y
        colour = COLOURS[look // len(SHAPES)]
        things.append(Thing(colour, shape, action, x, y, radius, length // 4, last))
    return things


def outline(thing: Thing, frame: int, height: int) -> list[tuple[float, float]]:
    """Its polygon in a frame, in pixels."""
    share = min(max((frame - thing.first) / (thing.last - thing.first), 0.0), 1.0)
    x, y, radius, turn = thing.x, thing.y, thing.radius, 0.0
    if thing.action in WAYS:
        x += REACH * height * share * WAYS[thing.action][0]
        y += REACH * height * share * WAYS[thing.action][1]
    elif thing.action == "jump":
        y -= 0.2 * height * abs(math.sin(3 * math.pi * share))
    elif thing.action in ("grow", "shrink"):
        radius *= 1 + (0.8 if thing.action == "grow" else -0.5) * share
    elif thing.action == "spin":
        turn = 2 * math.pi * share
    turn += math.pi / 4 if thing.shape == "square" else 0.0
    points, corners = [], SHAPES[thing.shape]
    for i in range(corners):
        angle = turn + 2 * math.pi * i / corners - math.pi / 2
        reach = radius * (DENT if thing.shape == "star" and i % 2 else 1)
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return points


def draw_frames(
    things: Sequence[Thing], background: Image.Image, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """(T, H, W, 3) uint8 frames and (T, H, W) ids: 0 background, i + 1 where thing i is seen."""
    frames, ids = [], []
    for frame in range(length):
        picture, mask = background.copy(), Image.new("L", background.size)
        for number, thing in enumerate(things, start=1):
            points = outline(thing, frame, background.height)
            ImageDraw.Draw(picture).polygon(points, fill=thing.colour)
            ImageDraw.Draw(mask).polygon(points, fill=number)
        frames.append(np.asarray(picture))
        ids.append(np.asarray(mask))
    return np.stack(frames), np.stack(ids)


def sentences(
    things: Sequence[Thing], length: int, rng: np.random.Generator
) -> list[tuple[str, str, int | None, list[tuple[int, int]]]]:
    """(kind, text, the thing meant or None, its moments)."""
    found = []
    for i, thing in enumerate(things):
        name = f"the {thing.colour} {thing.shape}"
        found.append(("looks", name, i, [(0, length - 1)]))
        if thing.action is not None:
            words = ACTIONS[thing.action]
            text, spans = f"{name} {pick(words, rng)}", [(thing.first, thing.last)]
            found.append(("looks and movement", text, i, spans))
    colour = pick([c for c in COLOURS if c not in [thing.colour for thing in things]], rng)
    found.append(("looks absent", f"the {colour} {pick(tuple(SHAPES), rng)}", None, []))
    shown = [thing.action for thing in things]
    idle = [action for action in ACTIONS if action not in (*shown, "spin")]  # circles may spin
    text = f"the {things[0].colour} {things[0].shape} {ACTIONS[pick(idle, rng)][0]}"
    return [*found, ("movement absent", text, None, [])]


def write_plain(
    output: Path, split: str, videos: int, seed: int, pictures: Path | None = None
) -> int:
    """Writes <output>/<split>; nothing is left there unless all of it could be written. Returns the
    number of sentences.

    Raises:
        InputError: the folder is not empty or cannot be written; no picture in ``pictures``.
    """
    backgrounds = BACKGROUNDS if pictures is None else _pictures(pictures)
    count = 0
    with new_split(output, split) as writer:
        for number in range(videos):
            rng = np.random.default_rng([seed, number])
            size, length = pick(SIZES, rng), int(rng.choice(LENGTHS))
            background = pick(backgrounds, rng)
            if pictures is None:
                background = Image.new("RGB", size[::-1], background)
            else:
                background = ImageOps.fit(opened(background), size[::-1])
            things = draw_things(rng, size, length)
            frames, ids = draw_frames(things, background, length)
            said = sentences(things, length, rng)
            told = [Told(text, {} if i is None else {i: spans}) for _, text, i, spans in said]
            scene = {
                "level": "plain" if pictures is None else "photographs",
                "objects": [vars(thing) for thing in things],
                "expressions": {
                    str(n): {"kind": kind, "cues": [], "appearance_decides": i is not None}
                    for n, (kind, _, i, _) in enumerate(said)
                },
            }
            writer.add(f"{number:05d}", through_h264(frames, CRF), ids, len(things), told, scene)
            count += len(told)
    return count


def _pictures(folder: Path) -> list[Path]:
    suffixes = (".jpg", ".jpeg", ".png")
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)
    if not found:
        raise InputError(f"{folder}: no .jpg or .png in it; give a folder of pictures")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = cli.Parser(prog="python -m tgl_e2e.data.plain", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    add("--split", default="valid_u", help="name of the split (default: valid_u)")
    add("--videos", type=int, default=30, metavar="N", help="how many (default: 30)")
    add("--seed", type=int, default=1, help="another seed, other videos (default: 1)")
    add("--pictures", type=Path, metavar="DIR", help="folder of photographs as backgrounds")
    options = parser.parse_args(arguments)
    if options.videos < 1 or options.seed < 0:
        parser.error("--videos must be at least 1 and --seed at least 0")

    def write() -> None:
        count = write_plain(
            options.output, options.split, options.videos, options.seed, options.pictures
        )
        print(f"{options.output / options.split}: {options.videos} videos, {count} expressions")

    return cli.run(parser.prog, write)


if __name__ == "__main__":
    sys.exit(main())

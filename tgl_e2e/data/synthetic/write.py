"""Writes scenes to disk in the layout of MeViS, with moments.json and the scenes' descriptions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tgl_e2e.data.split_writer import PHOTO_QUALITY, QUALITY, SplitWriter, Told, new_split
from tgl_e2e.errors import InputError
from tgl_e2e.video.writer import VideoWriter

from .generate import make_scene
from .plan import step_held_out
from .record import AS_DRAWN, Recording, record
from .scene import KINDS, Expression, Scene
from .sprite_scenes import SpriteScene, make_sprite_scene
from .sprites import Sprites

SEEDS_APART = 100_000  # scene seeds of one data set: seed * SEEDS_APART + number of the video


@dataclass
class Report:
    """What was written, for the eye. seen: the expressions; shares: of relevant frames, of those
    with a target; unseen_pairs: videos whose first expression has a pair that train never shows."""

    videos: int = 0
    frames: int = 0
    seconds: float = 0.0
    seen: list[Expression] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    unseen_pairs: int = 0

    def count(self, scene: Scene, frames: int) -> None:
        """Adds one scene, of which so many frames were written."""
        self.videos += 1
        self.frames += frames
        self.seen += scene.expressions
        self.shares += [float(scene.relevant(e).mean()) for e in scene.expressions if e.objects]

    def text(self) -> str:
        """Several lines for a person."""
        total, kinds = len(self.seen), Counter(expression.kind for expression in self.seen)
        told = ", ".join(f"{k} {kinds[k]} ({kinds[k] / total:.0%})" for k in KINDS if kinds[k])
        decided = sum(expression.appearance_decides for expression in self.seen) / total
        relevant = "no expression with a target"
        if self.shares:
            low, high, mean = min(self.shares), max(self.shares), np.mean(self.shares)
            relevant = f"mean {mean:.1%}, from {low:.1%} to {high:.1%} (where there is a target)"
        return (
            f"videos {self.videos}, frames {self.frames}, expressions {total}\n"
            f"kinds: {told}\n"
            f"decided by appearance alone: {decided:.1%} of the expressions\n"
            f"relevant frames: {relevant}\n"
            f"first expression about a pair that train never shows: {self.unseen_pairs} videos\n"
            f"{self.frames / self.seconds:.0f} frames/s, drawing and writing"
        )


def write_split(
    output: Path,
    split: str,
    videos: int,
    seed: int,
    level: str = "full",
    recording: Recording = AS_DRAWN,
    sprites: Sprites | None = None,
) -> Report:
    """Writes <output>/<split>; nothing is left there unless all of it could be written.

    sprites: what scenes are cast with, whatever the level; None: drawn shapes.

    Raises InputError for what the caller can mend.
    """
    seeds = range(seed * SEEDS_APART, seed * SEEDS_APART + videos)
    quality = QUALITY if sprites is None else PHOTO_QUALITY
    with new_split(output, split, quality) as writer:
        progress = tqdm(seeds, desc=split, unit="video")
        return _write(writer, _scenes(progress, level, split, recording, sprites), recording)


def write_sample(path: Path, split: str, seed: int, level: str, recording: Recording) -> str:
    """Writes the drawn scene of a seed as a video file; returns what can be said about it, with the
    moments, in lines for a person. Raises InputError as :func:`write_split` does."""
    (scene,) = _scenes([seed], level, split, recording, None)
    frames = record(scene, recording).rgb
    with VideoWriter(path, scene.fps / recording.every, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    lines = [f"{path}: {len(frames)} frames"]
    for expression in scene.expressions:
        spans = {span for m in expression.moments.values() for span in recording.spans(m)}
        lines.append(f'  "{expression.text}"  {sorted(spans)}')
    return "\n".join(lines)


def _scenes(
    seeds: Iterable[int], level: str, split: str, recording: Recording, sprites: Sprites | None
) -> Iterator[Scene]:
    for seed in seeds:
        if sprites is not None:
            yield make_sprite_scene(sprites, seed, split, recording.num_frames)
        else:
            yield make_scene(seed, level, split, num_frames=recording.num_frames)


def _write(writer: SplitWriter, scenes: Iterable[Scene], recording: Recording) -> Report:
    report, start = Report(), time.monotonic()
    for scene in scenes:
        if not isinstance(scene, SpriteScene):
            meant = [scene.objects[i] for i in scene.expressions[0].objects]
            report.unseen_pairs += any(step_held_out(s, o) for o in meant for s in o.segments)
        seen = [e for e in scene.expressions if all(map(recording.spans, e.moments.values()))]
        if not seen:
            continue
        scene = replace(scene, expressions=tuple(seen))  # without moments that are never seen
        drawn = record(scene, recording)
        told = [Told(e.text, {i: recording.spans(e.moments[i]) for i in e.objects}) for e in seen]
        facts = _description(scene, recording)
        writer.add(f"{scene.seed:08d}", drawn.rgb, drawn.ids, len(scene.objects), told, facts)
        report.count(scene, len(drawn.rgb))
    if not report.videos:
        raise InputError("every moment falls between the frames that are kept: lower --every")
    report.seconds = time.monotonic() - start
    return report


def _description(scene: Scene, recording: Recording) -> dict:
    """What is in a scene, for the analysis of failures; objects in the order of obj_id, frames of
    their segments in the scene's own numbers."""
    real = {}
    if isinstance(scene, SpriteScene):
        keys = [sprite.key for sprite in scene.cast]
        real = {"background": scene.background.path.name, "sprites": keys}
    return {
        "seed": scene.seed,
        "level": scene.level,
        "split": scene.split,
        "fps": scene.fps / recording.every,
        "every": recording.every,
        **real,
        "objects": [
            {name: getattr(thing, name) for name in ("shape", "colour", "fill", "size")}
            | {"segments": [vars(segment) for segment in thing.segments]}
            for thing in scene.objects
        ],
        "expressions": {
            str(n): {
                "kind": expression.kind,
                "cues": sorted(expression.cues),
                "appearance_decides": expression.appearance_decides,
            }
            for n, expression in enumerate(scene.expressions)
        },
    }

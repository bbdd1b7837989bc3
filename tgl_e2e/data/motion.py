"""Training clips of the synthetic set `motion`, rendered as they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.data.camera import EXACT, Camera, draw_camera, film
from tgl_e2e.data.clips import Clip, ClipOptions, EndlessClips, choose_frames
from tgl_e2e.data.sampling import select_objects
from tgl_e2e.data.synthetic import (
    COLOURS,
    CUES,
    FILLS,
    MOTIONS,
    SHAPES,
    SIZES,
    SPLITS,
    Expression,
    Rendered,
    Scene,
    absent_expression,
    appearance_expression,
    make_scene,
)
from tgl_e2e.errors import InputError

WORDS = {"shape": SHAPES, "colour": COLOURS, "fill": FILLS, "size": SIZES, "motion": MOTIONS}
# Per-pixel labels: what the generator knows of each object. "motion" counts in clips only.
ATTRIBUTES = {name: len(words) for name, words in WORDS.items()}
LABEL_STRIDE = 4  # labels are as fine as the mask decoder's output


class MotionClips(EndlessClips):
    """See :class:`EndlessClips`; split: ``train``, ``valid_u`` or ``valid``.

    Raises:
        InputError: a split or cue that the generator does not make.
    """

    def __init__(self, options: ClipOptions, length: int, seed: int, split: str = "train") -> None:
        super().__init__(options, length, seed)
        self.split = split
        if split not in SPLITS:
            raise InputError(f"motion has no split {split!r}; it has {', '.join(SPLITS)}")
        for cue, share in options.cues.items():
            if cue not in ("mixed", *CUES) or share < 0:
                raise InputError(
                    f"cues: {cue}: {share} is no share of a cue; known are mixed, {', '.join(CUES)}"
                )
            if cue == "motion" and options.static:
                raise InputError("cues: motion decides nothing in static scenes; set static=false")
            if cue == "fill" and options.full_share < 1:
                raise InputError(
                    "cues: at level easy every object is plain; fill needs full_share=1"
                )
        if not sum(options.cues.values()) > 0:
            raise InputError("cues: no share is greater than 0")

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 0, index])
        options = self.options
        draw, simple = rng.random(), options.full_share + options.medium_share
        level = "full" if draw < options.full_share else "medium" if draw < simple else "easy"
        shares = np.array(list(options.cues.values()), dtype=float)
        cue = str(rng.choice(list(options.cues), p=shares / shares.sum()))
        seed, static = int(rng.integers(2**31)), options.static or cue not in ("mixed", "motion")
        asked = None if cue == "mixed" else cue
        scene = make_scene(seed, level, self.split, asked, static=static)
        # The first expression is the one that the cue decides; the others are there for variety.
        choice = 0 if rng.random() < 0.6 else int(rng.integers(len(scene.expressions)))
        expression = scene.expressions[choice]
        # Only where there is a share of such, so that 0 leaves every other draw as it is.
        if options.no_target_share and rng.random() < options.no_target_share:
            expression = absent_expression(scene, rng) or expression
        elif options.appearance_share and rng.random() < options.appearance_share:
            expression = appearance_expression(scene, rng) or expression
        start, frames = choose_frames(scene.relevant(expression), options, rng)
        remember = bool(rng.random() < options.remember_target)
        clip = draw_clip(scene, expression, frames, start, options, draw_camera(options, rng))
        clip.name = f"motion scene {seed} ({level}, {cue}) frames {frames.tolist()}"
        clip.cue = cue if level == "easy" else f"{level}/{cue}"
        clip.remember = remember
        return clip


def draw_clip(
    scene: Scene,
    expression: Expression,
    frames: np.ndarray,
    start: int,
    options: ClipOptions,
    camera: Camera = EXACT,
) -> Clip:
    """Renders frames of a scene and the target of one expression in them."""
    drawn = film(scene, frames, options.size, camera, options.fill)
    clip = as_clip(scene, expression, frames, start, options, drawn)
    clip.labels = _labels(scene, drawn.ids, frames)
    return clip


def as_clip(
    scene: Scene,
    expression: Expression,
    frames: np.ndarray,
    start: int,
    options: ClipOptions,
    drawn: Rendered,
) -> Clip:
    """The clip of an expression in frames of a scene that are drawn, without labels."""
    kept = list(expression.objects)
    if options.selective:
        kept = select_objects(expression.moments, frames)
    return Clip(
        name=f"motion, frames {frames.tolist()}",
        frames=torch.from_numpy(drawn.rgb).permute(0, 3, 1, 2).contiguous(),
        text=expression.text,
        positions=torch.from_numpy(frames - start).long(),
        relevant=torch.from_numpy(scene.relevant(expression)[frames]),
        target=torch.from_numpy(np.isin(drawn.ids, [i + 1 for i in kept])),
    )


def _labels(scene: Scene, ids: np.ndarray, frames: np.ndarray) -> dict[str, Tensor]:
    half = LABEL_STRIDE // 2
    coarse = ids[:, half::LABEL_STRIDE, half::LABEL_STRIDE].astype(np.int64)  # (T, S/4, S/4)
    labels = {"object": torch.from_numpy(coarse > 0)}
    rows = np.arange(len(frames))[:, None, None]
    for name, words in WORDS.items():
        if name == "motion":
            values = [thing.motions()[frames] for thing in scene.objects]
        else:
            values = [np.full(len(frames), words.index(getattr(o, name))) for o in scene.objects]
        table = np.stack([np.full(len(frames), -1), *values], axis=1)  # (T, 1 + objects)
        labels[name] = torch.from_numpy(table[rows, coarse])
    return labels

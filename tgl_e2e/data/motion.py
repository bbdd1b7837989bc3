"""Training clips of the synthetic set `motion`, rendered as they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tgl_e2e.data.camera import EXACT, Camera, draw_camera, film
from tgl_e2e.data.clips import Clip, ClipOptions, choose_frames
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
    Scene,
    absent_expression,
    appearance_expression,
    make_scene,
)
from tgl_e2e.errors import InputError

# Per-pixel labels: what the generator knows of each object. "motion" counts in clips only.
ATTRIBUTES = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "fill": len(FILLS),
    "size": len(SIZES),
    "motion": len(MOTIONS),
}
LABEL_STRIDE = 4  # labels are as fine as the mask decoder's output


class MotionClips(Dataset):
    """An endless set: sample ``index`` is a pure function of it and the seed.

    Args:
        options: see :class:`ClipOptions`.
        length: samples in all.
        split: ``train``, ``valid_u`` or ``valid``.

    Raises:
        InputError: a split or cue that the generator does not make.
    """

    def __init__(self, options: ClipOptions, length: int, seed: int, split: str = "train") -> None:
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
        self.options = options
        self.length = length
        self.seed = seed
        self.split = split

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 0, index])
        options = self.options
        draw, shares = rng.random(), (options.full_share, options.full_share + options.medium_share)
        level = ("full", "medium", "easy")[sum(draw >= share for share in shares)]
        shares = np.array(list(options.cues.values()), dtype=float)
        cue = str(rng.choice(list(options.cues), p=shares / shares.sum()))
        seed = int(rng.integers(2**31))
        scene = make_scene(
            seed,
            level=level,
            split=self.split,
            cue=None if cue == "mixed" else cue,
            static=options.static or cue in ("colour", "shape", "size", "place", "fill"),
        )
        # The first expression is the one that the cue decides; the others are there for variety.
        choice = 0 if rng.random() < 0.6 else int(rng.integers(len(scene.expressions)))
        expression = scene.expressions[choice]
        # Only where there is a share of such, so that 0 leaves every other draw as it is.
        if options.no_target_share and rng.random() < options.no_target_share:
            expression = absent_expression(scene, rng) or expression
        elif options.appearance_share and rng.random() < options.appearance_share:
            expression = appearance_expression(scene, rng) or expression
        relevant = scene.relevant(expression)
        start, frames = choose_frames(relevant, options, rng)
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
    rendered = film(scene, frames, options.size, camera)
    relevant = scene.relevant(expression)
    moments, objects = expression.moments, expression.objects
    kept = select_objects(moments, frames) if options.selective else objects
    ids = rendered.ids  # (T, S, S), object index + 1
    return Clip(
        name=f"motion, frames {frames.tolist()}",
        frames=torch.from_numpy(rendered.rgb).permute(0, 3, 1, 2).contiguous(),
        text=expression.text,
        positions=torch.from_numpy(frames - start).long(),
        relevant=torch.from_numpy(relevant[frames]),
        target=torch.from_numpy(np.isin(ids, [i + 1 for i in kept])),
        labels=_labels(scene, ids, frames),
    )


def _labels(scene: Scene, ids: np.ndarray, frames: np.ndarray) -> dict[str, Tensor]:
    half = LABEL_STRIDE // 2
    coarse = ids[:, half::LABEL_STRIDE, half::LABEL_STRIDE].astype(np.int64)  # (T, S/4, S/4)
    names = {
        "shape": [SHAPES.index(o.shape) for o in scene.objects],
        "colour": [COLOURS.index(o.colour) for o in scene.objects],
        "fill": [FILLS.index(o.fill) for o in scene.objects],
        "size": [SIZES.index(o.size) for o in scene.objects],
    }
    labels = {name: np.array([-1, *values])[coarse] for name, values in names.items()}
    motions = np.stack([o.motions()[frames] for o in scene.objects], axis=1)  # (T, objects)
    motions = np.concatenate([np.full((len(frames), 1), -1), motions], axis=1)
    rows = np.arange(len(frames))[:, None, None]
    labels["motion"] = motions[rows, coarse].astype(np.int64)
    return {k: torch.from_numpy(v) for k, v in {"object": coarse > 0, **labels}.items()}

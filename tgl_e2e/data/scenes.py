"""Training clips of real objects that move, with exact moments: rendered when asked for."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from tgl_e2e.data.camera import WIDEST, squeezed
from tgl_e2e.data.clips import Clip, ClipOptions, choose_frames
from tgl_e2e.data.sampling import select_objects
from tgl_e2e.data.synthetic import Expression
from tgl_e2e.data.synthetic.film import render_sprites
from tgl_e2e.data.synthetic.sprite_scenes import SpriteScene, make_sprite_scene
from tgl_e2e.data.synthetic.sprites import Sprites

EXPRESSIONS = 3  # drawn for a scene, of which a clip takes one


class SceneClips(Dataset):
    """An endless set: sample ``index`` is a pure function of it and the seed.

    With T = 1 (or ``options.static``) nothing moves, and expressions speak of looks alone.
    """

    def __init__(self, sprites: Sprites, options: ClipOptions, length: int, seed: int) -> None:
        self.sprites = sprites
        self.options = options
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 3, index])
        options = self.options
        scene = self._scene(rng)
        expression = _one_of(scene.expressions, options.no_target_share, rng)
        relevant = scene.relevant(expression)
        start, frames = choose_frames(relevant, options, rng)
        aspect = WIDEST ** rng.uniform(-0.6, 1) if rng.random() < options.aspect_share else 1.0
        height, width = round(options.size / min(1, aspect)), round(options.size * max(1, aspect))
        drawn = squeezed(render_sprites(scene, frames, (height, width)), options.size)
        kept = list(expression.objects)
        if options.selective:
            kept = select_objects(expression.moments, frames)
        return Clip(
            name=f"scenes {scene.seed} frames {frames.tolist()}",
            frames=torch.from_numpy(drawn.rgb).permute(0, 3, 1, 2).contiguous(),
            text=expression.text,
            positions=torch.from_numpy(frames - start).long(),
            relevant=torch.from_numpy(relevant[frames]),
            target=torch.from_numpy(np.isin(drawn.ids, [i + 1 for i in kept])),
            remember=bool(rng.random() < options.remember_target),
            cue=f"scenes/{expression.kind}",
        )

    def _scene(self, rng: np.random.Generator) -> SpriteScene:
        options = self.options
        static = options.num_frames == 1 or options.static
        length = (1 if options.num_frames == 1 else options.block) if static else None
        while True:
            seed = int(rng.integers(2**31))
            try:
                return make_sprite_scene(
                    self.sprites, seed, "train", length, static=static, expressions=EXPRESSIONS
                )
            except ValueError:  # none fits this seed
                continue


def _one_of(
    expressions: tuple[Expression, ...], no_target_share: float, rng: np.random.Generator
) -> Expression:
    """One of a scene's expressions, without target as often as asked for if there is the choice."""
    wanted = bool(rng.random() < no_target_share)
    fitting = [one for one in expressions if bool(one.objects) != wanted] or expressions
    return fitting[rng.integers(len(fitting))]

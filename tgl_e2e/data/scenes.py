"""Training clips of real objects that move, with exact moments: rendered when asked for."""

from __future__ import annotations

import numpy as np

from tgl_e2e.data.camera import WIDEST, squeezed
from tgl_e2e.data.clips import Clip, ClipOptions, EndlessClips, choose_frames
from tgl_e2e.data.motion import as_clip
from tgl_e2e.data.nouns import pick
from tgl_e2e.data.synthetic.film import render_sprites
from tgl_e2e.data.synthetic.sprite_scenes import SpriteScene, make_sprite_scene
from tgl_e2e.data.synthetic.sprites import Sprites

EXPRESSIONS = 3  # drawn for a scene, of which a clip takes one


class SceneClips(EndlessClips):
    """With T = 1 (or ``options.static``) nothing moves, and expressions speak of looks alone."""

    def __init__(self, sprites: Sprites, options: ClipOptions, length: int, seed: int) -> None:
        super().__init__(options, length, seed)
        self.sprites = sprites

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 3, index])
        options = self.options
        scene = self._scene(rng)
        # Without target as often as asked for, if there is the choice.
        wanted = bool(rng.random() < options.no_target_share)
        fitting = [one for one in scene.expressions if bool(one.objects) != wanted]
        expression = pick(fitting or scene.expressions, rng)
        start, frames = choose_frames(scene.relevant(expression), options, rng)
        aspect = WIDEST ** rng.uniform(-0.6, 1) if rng.random() < options.aspect_share else 1.0
        height, width = round(options.size / min(1, aspect)), round(options.size * max(1, aspect))
        drawn = squeezed(render_sprites(scene, frames, (height, width)), options.fit)
        clip = as_clip(scene, expression, frames, start, options, drawn)
        clip.name = f"scenes {scene.seed} frames {frames.tolist()}"
        clip.cue = f"scenes/{expression.kind}"
        clip.remember = bool(rng.random() < options.remember_target)
        return clip

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

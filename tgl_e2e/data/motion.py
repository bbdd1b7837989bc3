"""Training clips that are rendered as they are asked for: of `motion`, and of `scenes`.

The generator draws squares in exact colours before regular backgrounds; videos are wide or upright
(and squeezed into the network's square), a little off in colour, cluttered, and have been through a
codec: so a camera films what it draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tgl_e2e.data.augment import (
    STRENGTH,
    at_centres,
    change_colours,
    colour_matrix,
    padded,
    through_jpeg,
)
from tgl_e2e.data.clips import Clip, ClipOptions, EndlessClips, choose_frames
from tgl_e2e.data.nouns import pick
from tgl_e2e.data.sampling import select_objects
from tgl_e2e.data.synthetic import (
    COLOURS,
    FILLS,
    MOTIONS,
    SHAPES,
    SIZES,
    Expression,
    Rendered,
    Scene,
    absent_expression,
    appearance_expression,
    make_scene,
    render,
)
from tgl_e2e.data.synthetic.scene import NoScene, Setting
from tgl_e2e.data.synthetic.sprite_scenes import SpriteScene, make_sprite_scene
from tgl_e2e.data.synthetic.sprites import Sprites
from tgl_e2e.errors import InputError
from tgl_e2e.fit import Fit

WORDS = {"shape": SHAPES, "colour": COLOURS, "fill": FILLS, "size": SIZES, "motion": MOTIONS}
# Per-pixel labels: what the generator knows of each object. "motion" counts in clips only.
ATTRIBUTES = {name: len(words) for name, words in WORDS.items()}
LABEL_STRIDE = 4  # labels are as fine as the mask decoder's output
WIDEST = 16 / 9
QUALITY = (15, 60)  # of JPEG; a video at a low bit rate looks like its lower half
SCENES = 50  # seeds that are tried for a clip
EXPRESSIONS = 3  # drawn for a scene of sprites, of which a clip takes one


class MotionClips(EndlessClips):
    """Clips of `motion`; split: ``train``, ``valid_u`` or ``valid``.

    Raises:
        InputError: a split or cue that the generator does not make.
    """

    def __init__(self, options: ClipOptions, length: int, seed: int, split: str = "train") -> None:
        super().__init__(options, length, seed)
        self.split = split
        shares = options.cues.values()
        if min(shares, default=0) < 0 or not sum(shares) > 0:
            raise InputError(f"cues={options.cues}: no share may be below 0, and one above it")
        level = "full" if options.full_share >= 1 else "easy"
        for cue in options.cues:
            Setting(level, split, None if cue == "mixed" else cue, options.static)  # or InputError

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


class SceneClips(EndlessClips):
    """Clips of real objects that move. With T = 1 (or ``options.static``) nothing moves, and
    expressions speak of looks alone."""

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
        shaped = rng.random() < options.aspect_share
        camera = Camera(_draw_aspect(rng)) if shaped else EXACT
        clip = draw_clip(scene, expression, frames, start, options, camera)
        clip.name = f"scenes {scene.seed} frames {frames.tolist()}"
        clip.cue = f"scenes/{expression.kind}"
        clip.remember = bool(rng.random() < options.remember_target)
        return clip

    def _scene(self, rng: np.random.Generator) -> SpriteScene:
        options = self.options
        static = options.num_frames == 1 or options.static
        length = (1 if options.num_frames == 1 else options.block) if static else None
        for attempt in range(SCENES):
            seed = int(rng.integers(2**31))
            try:
                return make_sprite_scene(
                    self.sprites, seed, "train", length, static=static, expressions=EXPRESSIONS
                )
            except NoScene:
                if attempt == SCENES - 1:
                    raise


@dataclass(frozen=True, eq=False)
class Camera:
    """aspect: width / height of the frame; colours: see :func:`colour_matrix`; quality: of JPEG;
    clutter: seed of a background of dead leaves. None: as the scene has it."""

    aspect: float = 1.0
    colours: np.ndarray | None = None
    quality: int | None = None
    clutter: int | None = None


EXACT = Camera()


def draw_camera(options: ClipOptions, rng: np.random.Generator) -> Camera:
    """Draws a camera with the shares of ``options``; all is drawn whether it is used or not, so
    that switching one share on leaves the others' draws as they were."""
    shaped, lit, compressed = rng.random(3) < (
        options.aspect_share,
        options.photometric,
        options.compress_share,
    )
    aspect = _draw_aspect(rng)
    brightness, contrast, saturation = rng.uniform(1 - STRENGTH, 1 + STRENGTH, 3)
    quality = int(rng.integers(*QUALITY))
    cluttered, clutter = rng.random() < options.clutter_share, int(rng.integers(2**31))
    return Camera(
        aspect=aspect if shaped else 1.0,
        colours=colour_matrix(brightness, contrast, saturation, 0.0) if lit else None,
        quality=quality if compressed else None,
        clutter=clutter if cluttered else None,
    )


def _draw_aspect(rng: np.random.Generator) -> float:
    return float(WIDEST ** rng.uniform(-0.6, 1.0))  # wide more often than upright


def film(
    scene: Scene, frames: np.ndarray, size: int, camera: Camera, fill: tuple[int, ...] | None = None
) -> Rendered:
    """``render`` through a camera: (T, S, S) frames, whatever the shape of the scene's own."""
    width, height = round(size * max(1.0, camera.aspect)), round(size / min(1.0, camera.aspect))
    if camera.clutter is not None:
        scene = replace(
            scene, background=replace(scene.background, kind="leaves", seed=camera.clutter)
        )
    rendered = render(scene, frames.tolist(), (height, width))
    rgb, ids, fit = rendered.rgb, rendered.ids, Fit(size, fill)
    if camera.quality is not None:
        rgb = _each(rgb, lambda picture: through_jpeg(picture, camera.quality))
    if camera.colours is not None:
        rgb = _each(rgb, lambda picture: change_colours(picture, camera.colours))
    if (height, width) != (size, size):
        inside = fit.inside((height, width))
        rgb = _each(rgb, lambda picture: picture.resize(inside[::-1], Image.BILINEAR))
        rgb = fit.place(torch.from_numpy(rgb).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        ids = padded(at_centres(ids, inside), size)
    return Rendered(rgb, ids)


def _each(rgb: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(picture))) for picture in rgb])


def draw_clip(
    scene: Scene,
    expression: Expression,
    frames: np.ndarray,
    start: int,
    options: ClipOptions,
    camera: Camera = EXACT,
) -> Clip:
    """Films frames of a scene and the target of one expression in them; sprites have no labels."""
    drawn = film(scene, frames, options.size, camera, options.fill)
    kept = expression.objects
    if options.selective:
        kept = select_objects(expression.moments, frames)
    return Clip(
        name=f"motion, frames {frames.tolist()}",
        frames=torch.from_numpy(drawn.rgb).permute(0, 3, 1, 2).contiguous(),
        text=expression.text,
        positions=torch.from_numpy(frames - start).long(),
        relevant=torch.from_numpy(scene.relevant(expression)[frames]),
        target=torch.from_numpy(np.isin(drawn.ids, [i + 1 for i in kept])),
        labels={} if isinstance(scene, SpriteScene) else _labels(scene, drawn.ids, frames),
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

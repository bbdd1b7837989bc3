"""How a rendered clip could have been filmed: before clutter, in another shape of frame, in other
light, compressed.

The generator draws squares in exact colours before regular backgrounds; videos are wide or upright
(and squeezed into the network's square), a little off in colour, cluttered, and have been through a
codec.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tgl_e2e.data.augment import STRENGTH, centres, change_colours, colour_matrix, compressed
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.synthetic import Rendered, Scene, render

WIDEST = 16 / 9
QUALITY = (15, 60)  # of JPEG; a video at a low bit rate looks like its lower half


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
    shaped, lit, coded = rng.random(3) < (
        options.aspect_share,
        options.photometric,
        options.compress_share,
    )
    aspect = WIDEST ** rng.uniform(-0.6, 1.0)  # wide more often than upright
    brightness, contrast, saturation = rng.uniform(1 - STRENGTH, 1 + STRENGTH, 3)
    quality = int(rng.integers(*QUALITY))
    cluttered, clutter = rng.random() < options.clutter_share, int(rng.integers(2**31))
    return Camera(
        aspect=float(aspect) if shaped else 1.0,
        colours=colour_matrix(brightness, contrast, saturation, 0.0) if lit else None,
        quality=quality if coded else None,
        clutter=clutter if cluttered else None,
    )


def film(scene: Scene, frames: np.ndarray, size: int, camera: Camera) -> Rendered:
    """``render`` through a camera: (T, S, S) frames, whatever the shape of the scene's own."""
    width, height = round(size * max(1.0, camera.aspect)), round(size / min(1.0, camera.aspect))
    if camera.clutter is not None:
        scene = replace(
            scene, background=replace(scene.background, kind="leaves", seed=camera.clutter)
        )
    rendered = render(scene, frames.tolist(), (height, width))
    rgb, ids = rendered.rgb, rendered.ids
    pictures = map(Image.fromarray, rgb)
    if camera.quality is not None:
        pictures = (compressed(picture, camera.quality) for picture in pictures)
    if camera.colours is not None:
        pictures = (change_colours(picture, camera.colours) for picture in pictures)
    return squeezed(Rendered(np.stack(list(map(np.asarray, pictures))), ids), size)


def squeezed(rendered: Rendered, size: int) -> Rendered:
    """Frames of any shape in the network's square: (T, S, S)."""
    height, width = rendered.ids.shape[1:]
    if (height, width) == (size, size):
        return rendered
    rgb = [
        np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))
        for picture in rendered.rgb
    ]
    ids = rendered.ids[:, centres(height, size)[:, None], centres(width, size)]
    return Rendered(np.stack(rgb), ids)

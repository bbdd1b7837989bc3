"""How a rendered clip could have been filmed: before clutter, in another shape of frame, in other
light, compressed.

The generator draws squares in exact colours before regular backgrounds; videos are wide or upright
(and squeezed into the network's square), a little off in colour, cluttered, and have been through a
codec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tgl_e2e.data.augment import STRENGTH, change_colours, colour_matrix
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.synthetic import Rendered, Scene, render
from tgl_e2e.data.synthetic.render import through_jpeg

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
    shaped, lit, compressed = rng.random(3) < (
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
        quality=quality if compressed else None,
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
    if camera.quality is not None:
        rgb = _each(rgb, lambda picture: through_jpeg(picture, camera.quality))
    if camera.colours is not None:
        rgb = _each(rgb, lambda picture: change_colours(picture, camera.colours))
    return squeezed(Rendered(rgb, ids), size)


def squeezed(rendered: Rendered, size: int) -> Rendered:
    """Frames of any shape in the network's square: (T, S, S)."""
    if rendered.ids.shape[1:] == (size, size):
        return rendered
    rgb = _each(rendered.rgb, lambda picture: picture.resize((size, size), Image.BILINEAR))
    return Rendered(rgb, at_centres(rendered.ids, size))


def _each(rgb: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(picture))) for picture in rgb])


def at_centres(ids: np.ndarray, size: int) -> np.ndarray:
    """(..., S, S) what (..., H, W) ids are at the centres of S x S equal parts."""
    rows, columns = (((np.arange(size) + 0.5) * n / size).astype(int) for n in ids.shape[-2:])
    return ids[..., rows[:, None], columns]

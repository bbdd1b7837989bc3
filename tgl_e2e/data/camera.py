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
import torch
from PIL import Image

from tgl_e2e.data.augment import STRENGTH, change_colours, colour_matrix
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.synthetic import Rendered, Scene, render
from tgl_e2e.data.synthetic.render import through_jpeg
from tgl_e2e.fit import Fit

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
    rgb, ids = rendered.rgb, rendered.ids
    if camera.quality is not None:
        rgb = _each(rgb, lambda picture: through_jpeg(picture, camera.quality))
    if camera.colours is not None:
        rgb = _each(rgb, lambda picture: change_colours(picture, camera.colours))
    return squeezed(Rendered(rgb, ids), Fit(size, fill))


def squeezed(rendered: Rendered, fit: Fit) -> Rendered:
    """Frames of any shape in the network's square: (T, S, S)."""
    if rendered.ids.shape[1:] == (fit.side, fit.side):
        return rendered
    size = fit.inside(rendered.ids.shape[1:])
    small = _each(rendered.rgb, lambda picture: picture.resize(size[::-1], Image.BILINEAR))
    rgb = fit.place(torch.from_numpy(small).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    return Rendered(rgb, padded(at_centres(rendered.ids, size), fit.side))


def _each(rgb: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(picture))) for picture in rgb])


def at_centres(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., h, w) what (..., H, W) ids are at the centres of h x w equal parts."""
    pairs = zip(ids.shape[-2:], size, strict=True)
    rows, columns = (((np.arange(parts) + 0.5) * n / parts).astype(int) for n, parts in pairs)
    return ids[..., rows[:, None], columns]


def padded(ids: np.ndarray, side: int) -> np.ndarray:
    """(T, S, S) of (T, h, w) ids, which are nothing's right of and below the frame."""
    return np.pad(ids, ((0, 0), *((0, side - n) for n in ids.shape[1:])))

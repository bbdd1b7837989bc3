"""Rendered clips through a camera: other shapes of frame, other light, compression."""

import dataclasses

import numpy as np
import pytest

from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.motion import Camera, MotionClips, draw_camera, film
from tgl_e2e.data.synthetic import make_scene, render

FRAMES = np.array([0, 9])


@pytest.fixture(scope="module")
def scene():
    return make_scene(5, level="full")


def test_an_exact_camera_changes_nothing(scene):
    exact, plain = film(scene, FRAMES, 96, Camera()), render(scene, FRAMES.tolist(), 96)
    assert (exact.rgb == plain.rgb).all() and (exact.ids == plain.ids).all()


@pytest.mark.parametrize("aspect", [16 / 9, 3 / 4])
def test_frames_of_another_shape_are_squeezed_with_their_masks(scene, aspect):
    found = film(scene, FRAMES, 96, Camera(aspect=aspect))
    assert found.rgb.shape == (2, 96, 96, 3) and found.ids.shape == (2, 96, 96)
    square = film(scene, FRAMES, 96, Camera())
    for i in range(1, len(scene.objects) + 1):  # in place, but narrower (or flatter)
        (y, x), (v, u) = (np.argwhere(r.ids[0] == i).T for r in (found, square))
        if len(x) < 30 or len(u) < 30 or {0, 95} & {x.min(), x.max(), y.min(), y.max()}:
            continue
        assert abs(x.mean() - u.mean()) < 4 and abs(y.mean() - v.mean()) < 4
        assert (np.ptp(x) < np.ptp(u)) if aspect > 1 else (np.ptp(y) < np.ptp(v))
    # masks and pictures move together: colours under a mask stay those of the object
    for i, thing in enumerate(scene.objects, start=1):
        inside = found.ids[0] == i
        if inside.sum() > 60:
            off = np.abs(np.median(found.rgb[0][inside], axis=0) - thing.rgb).max()
            assert off < 140  # fills and brightness change them, the background is far away


def test_compression_and_light_leave_masks_alone(scene):
    plain = film(scene, FRAMES, 96, Camera())
    compressed = film(scene, FRAMES, 96, Camera(quality=15))
    dark = film(scene, FRAMES, 96, Camera(colours=np.eye(3, 4) * 0.5))
    assert (compressed.ids == plain.ids).all() and (dark.ids == plain.ids).all()
    error = np.abs(compressed.rgb.astype(int) - plain.rgb).mean()
    assert 1 < error < 20
    assert abs(dark.rgb.mean() / plain.rgb.mean() - 0.5) < 0.02


def test_clutter_replaces_the_background_alone(scene):
    plain, cluttered = (film(scene, FRAMES, 96, Camera(clutter=c)) for c in (None, 4))
    other = film(scene, FRAMES, 96, Camera(clutter=5))
    assert (cluttered.ids == plain.ids).all()
    change = np.abs(cluttered.rgb.astype(int) - plain.rgb).max(axis=-1)
    assert change[plain.ids == 0].mean() > 3 * change[plain.ids > 0].mean()
    assert (cluttered.rgb != other.rgb).any()
    behind = cluttered.rgb[0][plain.ids[0] == 0].astype(float)
    assert behind.std(axis=0).min() > 8  # more than one piece


def test_clutter_is_dark_and_bright_and_grey_and_colourful(scene):
    films = [film(scene, FRAMES[:1], 96, Camera(clutter=c)) for c in range(40)]
    behind = [shown.rgb[0][shown.ids[0] == 0].astype(float) for shown in films]
    bright = np.array([np.percentile(pixels.mean(axis=-1), 90) for pixels in behind])
    colourful = np.array([np.ptp(pixels, axis=-1).mean() for pixels in behind])
    assert bright.min() < 80 and bright.max() > 170  # a wall
    assert colourful.min() < 20 and colourful.max() > 70  # a shirt


def test_shares_decide_and_leave_other_draws_alone():
    every = ClipOptions(aspect_share=1.0, photometric=1.0, compress_share=1.0, clutter_share=1.0)
    none = ClipOptions()
    for seed in range(20):
        camera = draw_camera(every, np.random.default_rng(seed))
        assert 0.7 < camera.aspect <= 16 / 9 and camera.colours is not None
        assert 15 <= camera.quality < 60 and camera.clutter is not None
        assert vars(draw_camera(none, np.random.default_rng(seed))) == vars(Camera())
        half = draw_camera(dataclasses.replace(every, photometric=0.0), np.random.default_rng(seed))
        assert half.aspect == camera.aspect and half.quality == camera.quality


def test_clips_are_filmed():
    plain = MotionClips(ClipOptions(), 4, seed=0)
    filmed = MotionClips(ClipOptions(aspect_share=1.0), 4, seed=0)
    for i in range(4):
        a, b = plain[i], filmed[i]
        assert a.text == b.text and (a.positions == b.positions).all()
        assert a.frames.shape == b.frames.shape and (a.frames != b.frames).any()

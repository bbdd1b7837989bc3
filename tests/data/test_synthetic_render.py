"""Pictures and masks: deterministic, independent per frame, exact."""

import numpy as np
import pytest

from tgl_e2e.data.synthetic import COLOURS, make_scene, render
from tgl_e2e.data.synthetic.shapes import RGB, outline


@pytest.mark.parametrize("level", ["easy", "full"])
def test_same_bytes_every_time(level):
    first, again = (render(make_scene(3, level), range(0, 24, 5), 96) for _ in range(2))
    assert first.rgb.tobytes() == again.rgb.tobytes()
    assert first.ids.tobytes() == again.ids.tobytes()


@pytest.mark.parametrize("level", ["easy", "full"])
@pytest.mark.parametrize("size", [80, (64, 100)])
def test_a_frame_does_not_depend_on_the_others(level, size):
    scene = make_scene(4, level)
    together = render(scene, [0, 7, 8, 20, 7], size)
    for row, frame in enumerate((0, 7, 8, 20, 7)):
        alone = render(scene, [frame], size)
        assert np.array_equal(alone.rgb[0], together.rgb[row])
        assert np.array_equal(alone.ids[0], together.ids[row])


def test_shapes_and_types():
    drawn = render(make_scene(0), [0, 1, 2], (48, 72))
    assert drawn.rgb.shape == (3, 48, 72, 3) and drawn.rgb.dtype == np.uint8
    assert drawn.ids.shape == (3, 48, 72) and drawn.ids.dtype == np.uint8


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which points (N, 2) lie in a polygon (M, 2), by the even-odd rule."""
    result = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if y0 != y1:
            result ^= crosses & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    return result


def coverage(thing, frame: int, height: int, width: int, sub: int = 8) -> np.ndarray:
    """Share of every pixel that an object covers, (H, W), by sampling."""
    grid = (np.arange(sub) + 0.5) / sub
    ys = (np.arange(height)[:, None] + grid).ravel()
    xs = (np.arange(width)[:, None] + grid).ravel()
    points = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    points = points - [thing.x[frame] * width, thing.y[frame] * height]
    c, s = np.cos(thing.angle[frame]), np.sin(thing.angle[frame])
    points = points @ np.array([[c, -s], [s, c]]) / (thing.scale[frame] * min(height, width))
    shape = outline(thing.shape)
    covered = np.any([inside(points, polygon) for polygon in shape.body], 0)
    for hole in shape.holes:
        covered &= ~inside(points, hole)
    return covered.reshape(height, sub, width, sub).mean((1, 3))


@pytest.mark.parametrize("size", [(64, 64), (56, 80)])
def test_masks_are_exact(size):
    for seed in range(8):
        scene = make_scene(seed, "full", num_frames=24)
        frame = 3 * seed
        drawn = render(scene, [frame], size).ids[0]
        expected, unsure = np.zeros(size, int), np.zeros(size, bool)
        for index, thing in enumerate(scene.objects):
            share = coverage(thing, frame, *size)
            expected[share >= 0.5] = index + 1
            unsure |= np.abs(share - 0.5) < 0.25  # their samples against ours
        assert (drawn == expected)[~unsure].all()
        assert (drawn == expected).mean() > 0.98


def test_colours_are_those_that_are_named():
    names = np.array(list(RGB.values()), float)
    for seed in range(12):
        scene = make_scene(seed, "easy", num_frames=24)
        drawn = render(scene, [0], 128)
        for index, thing in enumerate(scene.objects):
            pixels = drawn.rgb[0][drawn.ids[0] == index + 1].astype(float)
            if len(pixels) > 40:
                nearest = np.linalg.norm(names - np.median(pixels, 0), axis=1).argmin()
                assert COLOURS[nearest] == thing.colour
        behind = np.median(drawn.rgb[0][drawn.ids[0] == 0].astype(float), 0)
        assert np.linalg.norm(names - behind, axis=1).min() > 70


def test_masks_are_where_the_objects_are():
    for seed in range(6):
        scene = make_scene(seed, "easy", num_frames=24)
        drawn = render(scene, range(24), 64)
        front = len(scene.objects)  # nothing covers the last one
        thing = scene.objects[-1]
        for frame in range(24):
            ys, xs = np.nonzero(drawn.ids[frame] == front)
            assert abs((xs.mean() + 0.5) / 64 - thing.x[frame]) < 0.06
            assert abs((ys.mean() + 0.5) / 64 - thing.y[frame]) < 0.06

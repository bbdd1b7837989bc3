import sys

import numpy as np
import pytest
from PIL import Image
from test_results import some_segmentation

from tgl_e2e.draw import THUMBNAIL_SIDE, colour, draw_overlay, draw_timeline, overlay_of, spread
from tgl_e2e.results import Segmentation, encode_mask


def square(size, top, left, side):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_colours_differ():
    colours = np.array([colour(n) for n in range(24)])
    assert colours.min() >= 0 and colours.max() <= 255
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(24)
    assert distance[:8, :8].min() > 90 and distance.min() > 0


def test_mask_is_filled_and_outlined():
    rgb = np.full((120, 160, 3), 100, np.uint8)
    mask = square((120, 160), 40, 50, 30)
    out = draw_overlay(rgb, mask[None], np.array([False]))
    assert (rgb == 100).all()  # the input stays
    assert out.shape == rgb.shape and out.dtype == np.uint8
    assert tuple(out[40, 60]) == colour(0)  # contour
    assert np.abs(out[55, 65] - (0.55 * 100 + 0.45 * np.array(colour(0)))).max() <= 1  # inside
    assert (out[39, 60] > 200).all()  # light line around it
    far = ~square((120, 160), 36, 46, 38)
    assert (out[far] == 100).all()


def test_relevant_frames_are_marked():
    rgb = np.full((120, 160, 3), 100, np.uint8)
    masks = np.zeros((2, 120, 160), bool)
    off = draw_overlay(rgb, masks, np.array([False, False]), ["a dog", "a cat"])
    on = draw_overlay(rgb, masks, np.array([False, True]), ["a dog", "a cat"])
    assert (off[-2:] == 100).all() and (on[-2:, :80] == 100).all()
    assert (on[-2:, 80:] == colour(1)).all()
    labels = (off != on).any(axis=-1)[:60]
    assert 100 < labels.sum() < 60 * 160 / 2  # of the second label only
    assert (draw_overlay(rgb, masks, np.array([False, False])) == rgb).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 400), (400, 17), (64, 64), (720, 1280)])
def test_any_size_and_text(size):
    rgb = np.zeros((*size, 3), np.uint8)
    masks = np.ones((3, *size), bool)
    texts = ["", "a very long text " * 20, "Füße, собака, 犬, $x_1$\nnew line"]
    out = draw_overlay(rgb, masks, np.array([True, False, True]), texts)
    assert out.shape == rgb.shape


def test_no_expression_is_too_many():
    rgb = np.zeros((128, 128, 3), np.uint8)
    out = draw_overlay(rgb, np.zeros((40, 128, 128), bool), np.ones(40, bool), ["dog"] * 40)
    assert (out[80:-2] == 0).all()  # the labels leave room for the picture


def test_spread():
    assert spread(289, 6) == [24, 72, 120, 168, 216, 264]
    assert spread(3, 6) == [0, 1, 2]
    assert spread(1, 6) == [0]


def test_overlay_of():
    segmentation = some_segmentation("a")
    rgb = np.full((13, 17, 3), 100, np.uint8)
    expected = draw_overlay(rgb, segmentation.mask(3)[None], np.array([True]))  # frame 11
    assert (overlay_of(rgb, [segmentation], 3) == expected).all()
    wide = Segmentation(
        "a",
        1,
        (200, 900),
        24.0,
        np.array([0]),
        np.ones(1, np.float32),
        [(0, 0)],
        [encode_mask(square((200, 900), 50, 400, 100))],
    )
    small = overlay_of(np.zeros((200, 900, 3), np.uint8), [wide], 0, side=THUMBNAIL_SIDE)
    assert small.shape == (80, 360, 3)
    assert (small[30:50, 170:190] > 0).any() and (small[:10] == 0).all()


@pytest.mark.parametrize("count", [1, 2, 50])
def test_timeline(tmp_path, count):
    segmentations = [some_segmentation("the dog_1 $x$ 犬", count), some_segmentation("b", count, 1)]
    draw_timeline(tmp_path / "timeline.png", segmentations, 0.5)
    with Image.open(tmp_path / "timeline.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    for n in range(2):
        assert (pixels == colour(n)).all(axis=-1).sum() > 50  # its curve and caption


def test_frames_of_any_shape_make_no_tower(tmp_path):
    frames = [(n, np.zeros((700, 2, 3), np.uint8)) for n in (2, 50, 100)]
    draw_timeline(tmp_path / "timeline.png", [some_segmentation("a", 50)], 0.5, frames)
    with Image.open(tmp_path / "timeline.png") as image:
        assert image.height < image.width


def test_timeline_shows_spans_threshold_and_frames():
    segmentation = some_segmentation("a", 50)  # frames 2, 5, ..., 149
    axes = draw_timeline(None, [segmentation], 0.7).axes[0]
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 50)
    assert (curve.get_xdata() == segmentation.frames).all()
    assert (curve.get_ydata() == segmentation.relevance).all()
    assert any(set(line.get_ydata()) == {0.7} for line in axes.lines)
    shaded = sorted(
        patch.get_extents().transformed(axes.transData.inverted()).intervalx.tolist()
        for patch in axes.patches
    )
    assert np.allclose(shaded, [[0.5, 6.5], [9.5, 12.5]])


def test_no_global_state(tmp_path):
    draw_timeline(tmp_path / "timeline.png", [some_segmentation("a")], 0.5)
    pyplot = sys.modules.get("matplotlib.pyplot")  # another test may have imported it
    assert pyplot is None or not pyplot.get_fignums()

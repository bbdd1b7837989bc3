"""Augmentation: pictures, masks and sentence stay together, and nothing unsafe is ever drawn."""

import colorsys
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tgl_e2e.data.augment import (
    LEAST_SHARE,
    Augmentation,
    Zoom,
    augment_frame,
    bounds,
    change_colours,
    colour_matrix,
    crop_box,
    draw_augmentation,
    resize,
)
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.fit import Fit

EVERYTHING = ClipOptions(flip=1.0, photometric=1.0, scale=1.0)
NOTHING = Augmentation("")
HEIGHT, WIDTH = 90, 160


@pytest.fixture(scope="module")
def clip():
    """(rgb (T, H, W, 3), masks (T, H, W)) of a scene, its first expression's objects."""
    scene = make_scene(21, level="full", num_frames=48)
    drawn = render(scene, range(0, 24, 3), (HEIGHT, WIDTH))
    masks = np.isin(drawn.ids, [i + 1 for i in scene.expressions[0].objects])
    assert masks.any()
    return drawn.rgb, masks


def draw(text="the cat that jumps", options=EVERYTHING, seed=0) -> Augmentation:
    return draw_augmentation(text, options, np.random.default_rng(seed))


# What is drawn


def test_nothing_is_done_unless_asked_for():
    for seed in range(50):
        assert draw(options=ClipOptions(), seed=seed) == Augmentation("the cat that jumps")
        change = draw(seed=seed)
        assert change.flip and change.zoom is not None and change.colours is not None


def test_probabilities():
    options = ClipOptions(flip=0.5, photometric=0.2, scale=0.8)
    drawn = [draw(options=options, seed=seed) for seed in range(600)]
    assert 0.42 < np.mean([change.flip for change in drawn]) < 0.58
    assert 0.14 < np.mean([change.colours is not None for change in drawn]) < 0.26
    assert 0.74 < np.mean([change.zoom is not None for change in drawn]) < 0.86


def test_one_augmentation_leaves_the_others_as_they_were():
    for seed in range(30):
        both = draw(seed=seed)
        alone = draw(options=ClipOptions(scale=1.0), seed=seed)
        assert alone.zoom == both.zoom and alone.colours is None and not alone.flip
        unflipped = draw(options=dataclasses.replace(EVERYTHING, flip=0.0), seed=seed)
        assert (unflipped.colours == both.colours).all()


def test_sentence_and_pictures_are_mirrored_together_or_not_at_all():
    for seed in range(30):
        change = draw("the dog running left", seed=seed)
        assert change.flip and change.text == "the dog running right"
        for text in (
            "the man that left the room",
            "the wheel spinning clockwise",
            "the leftmost of the cats",
            "the dog right behind him",
        ):
            change = draw(text, seed=seed)
            assert not change.flip and change.text == text


def test_unsafe_sentences_are_not_cropped():
    for seed in range(30):
        assert draw("the dog on the left", seed=seed).zoom is None
        assert draw("the largest dog", seed=seed).zoom is None
        assert draw("the dog", seed=seed).zoom is not None


def test_hue_is_kept_where_a_colour_is_named():
    def turned(text):
        shades = [draw(text, seed=s).colours @ [200, 80, 80, 1] for s in range(30)]
        return [abs(shade[1] - shade[2]) > 1e-6 for shade in shades]

    assert not any(turned("the red car"))
    assert all(turned("the fast car"))


# Colours


def test_neutral_colours_and_a_full_turn_change_nothing():
    identity = np.eye(3, 4)
    assert np.allclose(colour_matrix(1, 1, 1, 0), identity)
    assert np.allclose(colour_matrix(1, 1, 1, 360), identity)


def test_colour_factors_do_what_they_are_called():
    colour = np.array([180, 60, 30, 1.0])
    assert np.allclose(colour_matrix(1.2, 1, 1, 0) @ colour, 1.2 * colour[:3])
    assert np.allclose(colour_matrix(1, 0.5, 1, 0) @ colour, (colour[:3] - 127.5) / 2 + 127.5)
    grey = colour_matrix(1, 1, 0, 0) @ colour
    assert np.allclose(grey, 0.299 * 180 + 0.587 * 60 + 0.114 * 30)
    more = colour_matrix(1, 1, 1.2, 0) @ colour
    assert np.ptp(more) > np.ptp(colour[:3])
    turned = colour_matrix(1, 1, 1, 6) @ colour
    before, after = (colorsys.rgb_to_hsv(*c[:3])[0] * 360 for c in (colour, turned))
    assert 2 < after - before < 10


def test_grey_stays_grey_and_no_colour_becomes_another():
    for seed in range(100):
        matrix = draw(seed=seed).colours
        assert np.ptp(matrix @ [90, 90, 90, 1]) < 1e-9
        for hue in np.arange(0, 1, 1 / 12):
            colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.9, 0.8))
            changed = colorsys.rgb_to_hsv(*(matrix @ [*colour, 1]))[0]
            assert abs((changed - hue + 0.5) % 1 - 0.5) < 12 / 360


def test_pictures_are_cut_to_bytes_and_all_alike(clip):
    matrix = colour_matrix(1.2, 1.2, 1.1, 3)
    for rgb in clip[0]:
        expected = rgb @ matrix[:, :3].T + matrix[:, 3]
        found = np.asarray(change_colours(Image.fromarray(rgb), matrix))
        assert np.abs(found - expected.clip(0, 255)).max() <= 0.51


# Crops


def test_bounds():
    masks = np.zeros((3, 20, 30), dtype=bool)
    assert bounds(masks) is None
    masks[0, 4, 7] = masks[2, 15, 29] = True
    assert bounds(masks) == (7, 4, 30, 16)


@pytest.mark.parametrize("seed", range(200))
def test_crops_lie_inside_and_keep_the_objects(seed):
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(4, 400, 2))
    zoom = Zoom(*rng.uniform((LEAST_SHARE, 0, 0), 1))
    keep = None
    if seed % 4:
        x, y = (np.sort(rng.choice(n + 1, 2, replace=False)).tolist() for n in (width, height))
        keep = (x[0], y[0], x[1], y[1])
    left, top, right, bottom = crop_box(zoom, width, height, keep)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    share = zoom.share
    if keep is not None:
        assert left <= keep[0] and top <= keep[1] and keep[2] <= right and keep[3] <= bottom
        share = max(share, (keep[2] - keep[0]) / width, (keep[3] - keep[1]) / height)
    assert abs(right - left - share * width) <= 0.51  # the frame's own shape
    assert abs(bottom - top - share * height) <= 0.51


def test_every_place_can_come():
    boxes = [crop_box(Zoom(0.6, x, 0.5), 100, 50, None) for x in np.linspace(0, 1, 41)]
    assert {box[0] for box in boxes} == set(range(41))


# Frames


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_masks_and_pictures_move_together(clip, flip, seed):
    """With the mask painted into the green band, the two must come out the same to the pixel."""
    rgb, masks = clip
    zoom = Zoom(*np.random.default_rng(seed).uniform((LEAST_SHARE, 0, 0), 1))
    box = crop_box(zoom, WIDTH, HEIGHT, bounds(masks))
    for picture, mask in zip(rgb, masks, strict=True):
        painted = picture.copy()
        painted[..., 1] = 255 * mask
        frame, found = augment_frame(
            Image.fromarray(painted), mask, Fit(64), box, Augmentation("", flip)
        )
        assert torch.equal(frame[1] >= 128, found)
        # Nothing of the objects was cut off.
        cell = (box[2] - box[0]) * (box[3] - box[1]) / 64**2
        assert abs(found.sum() * cell - mask.sum()) <= 0.06 * mask.sum() + 4 * cell


def test_mirroring_twice_is_identity(clip):
    rgb, masks = clip
    there = Augmentation("", flip=True)
    for picture, mask in zip(rgb, masks, strict=True):
        square, part = picture[:, :HEIGHT], np.ascontiguousarray(mask[:, :HEIGHT])
        frame, found = augment_frame(Image.fromarray(square), part, Fit(HEIGHT), None, there)
        assert np.array_equal(frame.permute(1, 2, 0), square[:, ::-1])
        assert np.array_equal(found, part[:, ::-1])
        again = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
        frame, found = augment_frame(again, found.contiguous().numpy(), Fit(HEIGHT), None, there)
        assert np.array_equal(frame.permute(1, 2, 0), square) and np.array_equal(found, part)


def test_the_picture_handed_in_is_left_alone(clip):
    picture = Image.fromarray(clip[0][0])
    augment_frame(picture, clip[1][0], Fit(32), None, NOTHING)
    assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), clip[0][0])


@pytest.mark.parametrize("size", [48, 96, 256])
def test_resized_as_in_inference(clip, size):
    """Inference resizes floats and rounds; bytes round once more, by one level at most."""
    for picture in clip[0]:
        exact = F.interpolate(
            torch.from_numpy(picture).permute(2, 0, 1)[None].float(),
            size=(size, size),
            mode="bilinear",
            antialias=True,
        )[0]
        assert (resize(Image.fromarray(picture), (size, size)) - exact).abs().max() <= 1.01


def test_a_pixel_counts_where_most_of_it_is_covered():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:, :5] = True  # cells of 4: the first is covered, the second to a quarter
    _, found = augment_frame(Image.new("RGB", (8, 8)), mask, Fit(2), None, NOTHING)
    assert found.tolist() == [[True, False], [True, False]]

"""What inference does to be fast, against the network's steps one frame at a time, and the options
that trade accuracy for time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_segmenter import build, masks, threshold_between
from test_segmenter import video as video

from tgl_e2e import VideoSegmenter
from tgl_e2e.errors import InputError
from tgl_e2e.fit import Fit
from tgl_e2e.inference.block_encoder import smoothed
from tgl_e2e.inference.segmenter import texts_at_once
from tgl_e2e.model.reference import segment_frame_by_frame

TEXT = "the red star that moves to the left"


@pytest.fixture(scope="module")
def model():
    return build(**{"tam.smooth": 1})


def plainly(model, video: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Masks (T, H, W) of a video of one block: every frame by itself, with SAM2's own memory
    attention (which runs where gradients are on) and PyTorch's own products."""
    frames = torch.stack([Fit.of(model).shrink(rgb) for rgb in video])
    logits, _ = segment_frame_by_frame(model, frames, TEXT, torch.from_numpy(relevant))
    resized = F.interpolate(logits.detach()[:, None], size=video.shape[1:3], mode="bilinear")
    return (resized[:, 0] > 0).numpy()


@pytest.mark.parametrize("spans", [[(4, 9)], [(0, 3), (20, 22)]])
def test_the_fast_path_gives_the_masks_of_the_plain_one(model, video, spans):
    relevant = np.zeros(24, bool)
    for start, end in spans:
        relevant[start : end + 1] = True
    expected = plainly(model, video[:24], relevant)
    found = VideoSegmenter(model).segment(video[:24], [TEXT], moments=spans)[0]
    assert 0.02 < expected.mean() < 0.98
    assert (masks(found) == expected).mean() > 0.9999


def test_a_tam_at_a_stride_interpolates_and_keeps_what_it_scores(model, video):
    every = VideoSegmenter(model).segment(video[:64], [TEXT])[0]
    third = VideoSegmenter(model, tam_stride=3).segment(video[:64], [TEXT])[0]
    scored = np.array([t for t in range(64) if t % 32 % 3 == 0])
    for first in (0, 32):  # between scored frames of a block, relevance is linear
        known = scored[(scored >= first) & (scored < first + 32)]
        between = np.interp(np.arange(first, first + 32), known, third.relevance[known])
        assert np.abs(between - third.relevance[first : first + 32]).max() < 1e-6
    assert np.abs(every.relevance - third.relevance).max() > 0
    assert third.relevance.dtype == np.float32


@pytest.mark.parametrize("stride", [2, 5])
def test_frames_between_scored_ones_are_segmented_by_their_path(model, video, stride):
    threshold = threshold_between(model, video, [TEXT], stride)
    segmenter = VideoSegmenter(model, threshold=threshold, tam_stride=stride)
    found = segmenter.segment(video, [TEXT])[0]
    inside = np.zeros(75, bool)
    for start, end in found.moments:
        inside[start : end + 1] = True
    assert (inside == (found.relevance >= threshold)).all()
    assert masks(found).any(axis=(1, 2)).all()
    other = segmenter.segment(video, ["something else", TEXT])[1]  # company changes nothing
    assert np.abs(other.relevance - found.relevance).max() < 1e-5
    assert (masks(other) == masks(found)).mean() > 0.9999


def test_given_moments_need_no_scores(model, video):
    spans = [(3, 10), (40, 44)]
    found = VideoSegmenter(model, tam_stride=0).segment(video, [TEXT], moments=spans)[0]
    inside = np.isin(np.arange(75), [*range(3, 11), *range(40, 45)])
    assert (found.relevance == inside).all()
    assert masks(found).any(axis=(1, 2)).all()
    scored = VideoSegmenter(model).segment(video, [TEXT], moments=spans)[0]
    assert (masks(found) != masks(scored)).any()  # adapters see other windows
    everything = VideoSegmenter(model, tam_stride=0).segment(video[:64], [TEXT], moments="all")[0]
    with_scores = VideoSegmenter(model).segment(video[:64], [TEXT], moments="all")[0]
    assert (masks(everything) == masks(with_scores)).mean() > 0.9999  # there the same windows


@pytest.mark.parametrize("moments", ["auto", "top-k:3"])
def test_moments_that_need_scores_say_so(model, video, moments):
    with pytest.raises(InputError, match="need scores"):
        VideoSegmenter(model, tam_stride=0).segment(video, [TEXT], moments=moments)


@pytest.mark.parametrize("stride", [-1, 33])
def test_strides_are_checked(model, stride):
    with pytest.raises(InputError, match="tam_stride"):
        VideoSegmenter(model, tam_stride=stride)


def test_a_pooled_memory_changes_masks_a_little(video):
    plain, pooled = build(), build(**{"memory.pool": 2})
    a, b = (
        VideoSegmenter(m).segment(video[:40], [TEXT], moments=[(0, 5)])[0] for m in (plain, pooled)
    )
    assert 0.9 < (masks(a) == masks(b)).mean() < 1


def test_large_frames_take_fewer_texts_at_once(model):
    assert texts_at_once(model) == 16
    large = build(**{"vision.image_size": 2048})
    single = texts_at_once(large)
    large.compute_dtype = torch.bfloat16
    assert 1 <= single < texts_at_once(large)


def test_smoothing_is_a_mean_over_known_neighbours():
    logits = np.array([[3.0, 0.0, np.nan, 6.0, 0.0]], np.float32)
    assert np.allclose(smoothed(logits, 3), [[1.5, 1.5, np.nan, 3.0, 3.0]], equal_nan=True)
    assert np.array_equal(smoothed(logits, 1), logits, equal_nan=True)


def test_smoothed_scores_decide_what_is_relevant(model, video):
    plain = VideoSegmenter(model).segment(video[:64], [TEXT])[0].relevance
    soft = build(**{"tam.smooth": 5})
    threshold = float(np.median(plain))
    found = VideoSegmenter(soft, threshold=threshold).segment(video[:64], [TEXT])[0]
    logits = np.log(plain / (1 - plain)).reshape(2, 32)  # a block's frames are averaged, no others
    expected = 1 / (1 + np.exp(-smoothed(logits, 5))).reshape(64)
    assert np.abs(found.relevance - expected).max() < 1e-5
    inside = np.zeros(64, bool)
    for start, end in found.moments:
        inside[start : end + 1] = True
    assert (inside == (found.relevance >= threshold)).all()
    spans = found.moments  # the same M+ given: the same masks, as features are the same
    given = VideoSegmenter(model).segment(video[:64], [TEXT], moments=spans)[0]
    assert (masks(given) == masks(found)).mean() > 0.9999
    best = VideoSegmenter(soft).segment(video[:64], [TEXT], moments="top-k:1")[0]
    assert best.moments[0][0] == found.relevance.argmax()

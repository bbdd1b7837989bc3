"""Ref-DAVIS17: objects compete for pixels, four annotations are averaged, objects are matched."""

import itertools

import numpy as np
import pytest
import torch
from networks import build

from tgl_e2e import VideoSegmenter
from tgl_e2e.data.base import ExpressionRecord, VideoRecord
from tgl_e2e.evaluation.davis import (
    best_assignment,
    label_map,
    match_objects,
    matched_scores,
    separate_objects,
)
from tgl_e2e.evaluation.scores import score_expression, summarize
from tgl_e2e.results import Segmentation, encode_mask

SIZE = (40, 60)


def block(left):
    mask = np.zeros(SIZE, dtype=bool)
    mask[10:30, left : left + 15] = True
    return mask


TRUTH = {"1": block(5), "2": block(35)}


class TwoObjects:
    def read(self, objects, position):
        return np.any([np.zeros(SIZE, bool), *(TRUTH[o] for o in objects)], axis=0)

    def visible(self, obj):
        return np.ones(2, dtype=bool)


VIDEO = VideoRecord(
    "clip",
    [None, None],
    tuple(
        ExpressionRecord(str(n), "text", (str(1 + n // 4),), None, TwoObjects(), n % 4)
        for n in range(8)
    ),
)


def result(logits):
    """The same logits (h, w) in both frames."""
    both = np.stack([logits, logits]).astype(np.float16)
    rle = [encode_mask(logits > 0)] * 2
    return Segmentation("t", 2, SIZE, 24.0, np.arange(2), np.ones(2, np.float32), [], rle, both)


def test_the_highest_probability_wins_and_half_is_needed():
    logits = torch.full((2, 4, 4), -9.0)
    logits[0, :, 0] = 2.0  # object 1 alone
    logits[0, :, 1], logits[1, :, 1] = 1.0, 3.0  # both: 2 is surer
    logits[1, :, 2] = -0.1  # probability 0.475: counts for nothing, though above the background
    assert label_map(logits, (4, 4))[0].tolist() == [1, 2, 0, 0]
    assert label_map(logits, (8, 8)).shape == (8, 8)


def test_objects_of_one_annotation_are_made_disjoint():
    found = []
    for n in range(8):
        logits = np.where(TRUTH[str(1 + n // 4)], 4.0, -4.0)
        if n == 1:  # annotation 1 of object 1 also claims the place of object 2, less surely
            logits = np.where(TRUTH["2"], 1.0, logits)
        if n == 6:  # annotation 2 of object 2 claims that of object 1, more surely
            logits = np.where(TRUTH["1"], 8.0, -4.0)
        found.append(result(logits))
    separate = separate_objects(VIDEO, found)
    assert (separate[1].mask(0) == TRUTH["1"]).all()  # gave way to object 2
    assert not separate[2].mask(0).any() and (separate[6].mask(1) == TRUTH["1"]).all()
    assert all(s.logits is None for s in separate)
    for a in range(4):
        assert not (separate[a].mask(0) & separate[a + 4].mask(0)).any()
    scores = [
        score_expression("clip", e, s, 2) for e, s in zip(VIDEO.expressions, separate, strict=True)
    ]
    # Three annotations are right, of the third both objects are wrong.
    assert summarize(scores)["J"] == 75 == summarize(scores)["F"]


def test_matched_objects_as_the_official_script_scores_them():
    swapped = [result(np.where(TRUTH[str(2 - n // 4)], 4.0, -4.0)) for n in range(8)]
    strict = [
        score_expression("clip", e, s, 2) for e, s in zip(VIDEO.expressions, swapped, strict=True)
    ]
    assert summarize(strict)["J"] == 0
    matched = match_objects(VIDEO, swapped)
    assert matched == [[{"J": 100, "F": 100}] * 2] * 4
    assert matched_scores([matched]) == {"J": 100, "F": 100, "J&F": 100}
    hidden = VideoRecord("clip", VIDEO.frames, (ExpressionRecord("0", "t", None, None),))
    assert match_objects(hidden, swapped[:1]) is None
    assert matched_scores([None]) == {"J": None, "F": None, "J&F": None}


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_assignment_against_all_permutations(count):
    rng = np.random.default_rng(count)
    for _ in range(20):
        values = rng.random((count, count))
        best = best_assignment(values)
        assert sorted(best) == list(range(count))
        total = max(
            sum(values[i, c] for i, c in enumerate(order))
            for order in itertools.permutations(range(count))
        )
        assert sum(values[i, c] for i, c in enumerate(best)) == pytest.approx(total)


@pytest.mark.parametrize("moments", ["auto", [(20, 22)], "top-k:2"])
def test_the_segmenter_hands_out_the_logits_behind_its_masks(moments):
    frames = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    texts = ["the red circle moving left", "a star"]
    segmenter = VideoSegmenter(build("tiny"), keep_logits=True)
    for found in segmenter.segment(frames, texts, moments=moments):
        assert found.logits.shape == (40, 32, 32) and found.logits.dtype == np.float16
        for t in range(40):
            logits = torch.from_numpy(found.logits[t])[None]
            assert (label_map(logits, (48, 64)) == found.mask(t)).mean() > 0.999  # half precision

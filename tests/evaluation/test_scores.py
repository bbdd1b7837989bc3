"""Scores of single expressions and their summaries, on hand-made results."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from tgl_e2e.data.base import ExpressionRecord
from tgl_e2e.evaluation.scores import (
    ExpressionScore,
    breakdown,
    by_target,
    by_video,
    chance_of,
    image_scores,
    score_expression,
    summarize,
)
from tgl_e2e.results import Segmentation, encode_mask

FRAMES, HEIGHT, WIDTH = 4, 40, 50


class Squares:
    """A mask reader: object "a" a square in all frames, "b" another in frames 2 and 3."""

    def read(self, objects, position):
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        if "a" in objects:
            mask[10:20, 10:20] = True
        if "b" in objects and position >= 2:
            mask[10:20, 20:30] = True
        return mask

    def visible(self, obj):
        return np.array([obj == "a"] * 2 + [True] * 2)


def expression(key, objects, moments):
    return ExpressionRecord(key, f"text {key}", objects, moments, Squares())


def result(masks, relevance, moments=()):
    return Segmentation(
        text="text",
        num_frames=len(masks),
        size=(HEIGHT, WIDTH),
        fps=24.0,
        frames=np.arange(len(masks)),
        relevance=np.array(relevance, dtype=np.float32),
        moments=list(moments),
        rle=[encode_mask(m) for m in masks],
    )


EMPTY = np.zeros((HEIGHT, WIDTH), dtype=bool)
ONE, BOTH = (Squares().read(objects, 3) for objects in (("a",), ("a", "b")))


def test_means_over_frames_then_over_expressions():
    two = expression("0", ("a", "b"), {"a": [(0, 1)], "b": [(3, 3)]})
    # Frames 0 and 1 right, 2 half (only "a" of "a" and "b"), 3 empty.
    score = score_expression("v", two, result([ONE, ONE, ONE, EMPTY], [0.1, 0.2, 0.9, 0.8]), FRAMES)
    assert score.J == 62.5
    assert 50 < score.F < 100 and score.jf == (score.J + score.F) / 2
    assert score.top1 == 0 and score.chance == 75  # frame 2 is no moment; 0, 1 and 3 are
    assert score.truth == [[0, 2], [3, 4]]
    assert score.answered and not score.no_target

    one = expression("1", ("a",), {"a": [(2, 3)]})
    perfect = score_expression("v", one, result([ONE] * 4, [0, 0, 1, 1], [(2, 3)]), FRAMES)
    assert perfect.J == perfect.F == perfect.top1 == 100 and perfect.chance == 50
    assert perfect.moments == [[2, 3]] and perfect.windows[0] == [2, 4, 1]

    together = summarize([score, perfect])
    assert together["J"] == pytest.approx((62.5 + 100) / 2)
    assert together["J&F"] == pytest.approx((together["J"] + together["F"]) / 2, abs=1e-4)
    assert together["top1"] == 50 and chance_of([score, perfect]) == 62.5
    assert together["num_expressions"] == 2
    assert list(together) == [
        "J",
        "F",
        "J&F",
        "top1",
        "R1@0.5",
        "R1@0.7",
        "mAP",
        "mAP@0.5",
        "mAP@0.75",
        "num_expressions",
    ]


def test_expressions_of_equal_text_count_each():
    one = expression("0", ("a",), {"a": [(0, 3)]})
    good = score_expression("v", one, result([ONE] * 4, [1] * 4), FRAMES)
    bad = score_expression("w", one, result([EMPTY] * 4, [0] * 4), FRAMES)
    assert summarize([good, good, bad])["J"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert by_video([good, bad, good])["v"] == {
        "J": 100,
        "F": 100,
        "J&F": 100,
        "top1": 100,
        "num_expressions": 2,
    }


def test_no_target_expressions():
    nothing = expression("0", (), {})
    silent = score_expression("v", nothing, result([EMPTY] * 4, [0.1] * 4), FRAMES)
    assert silent.no_target and not silent.answered and silent.J == silent.F == 100
    assert silent.top1 is None and silent.chance is None and silent.truth == []
    wrong = score_expression("v", nothing, result([EMPTY, ONE, EMPTY, EMPTY], [0.9] * 4), FRAMES)
    assert wrong.answered and wrong.J == wrong.F == 75
    one = score_expression(
        "v", expression("0", ("a",), {"a": [(0, 3)]}), result([EMPTY] * 4, [0.1] * 4), FRAMES
    )
    summary = summarize([silent, wrong])
    assert summary["top1"] is None and summary["mAP"] is None and summary["J&F"] == 87.5
    apart = by_target([silent, wrong, one])
    assert apart["no_target"] == {
        "J": 87.5,
        "F": 87.5,
        "J&F": 87.5,
        "N-acc": 50,
        "num_expressions": 2,
    }
    assert apart["with_target"]["T-acc"] == 0 and apart["with_target"]["num_expressions"] == 1
    assert by_target([one])["no_target"]["N-acc"] is None


def test_images_as_refcoco_reports_them():
    first = expression("0", ("a",), {"a": [(0, 0)]})  # 100 pixels
    half = np.zeros_like(ONE)
    half[10:15, 10:20] = True
    scores = [
        score_expression("v", first, result([mask], [1]), 1) for mask in (ONE, half, BOTH, EMPTY)
    ]
    assert [(s.intersection, s.union) for s in scores] == [
        (100, 100),
        (50, 100),
        (100, 200),
        (0, 100),
    ]
    found = image_scores(scores)
    assert found["mIoU"] == 50 and found["oIoU"] == 50
    assert found["P@0.5"] == 75 and found["P@0.6"] == found["P@0.9"] == 25
    assert scores[0].target_size == 100 * 100 / (HEIGHT * WIDTH)


def test_a_split_without_masks_or_moments():
    unknown = ExpressionRecord("0", "text", None, None, None)
    score = score_expression("v", unknown, result([ONE] * 4, [1, 0, 0, 0]), FRAMES)
    assert score.J is None and score.jf is None and score.truth is None and score.top1 is None
    summary = summarize([score])
    assert summary["J&F"] is None and summary["mAP"] is None and summary["num_expressions"] == 1
    json.dumps(summary, allow_nan=False)
    assert summarize([])["num_expressions"] == 0


def test_only_processed_frames_count():
    one = expression("0", ("a",), {"a": [(2, 3)]})
    every_other = Segmentation(
        "text",
        2,
        (HEIGHT, WIDTH),
        24.0,
        np.array([0, 2]),
        np.array([0.2, 0.9], np.float32),
        [],
        [encode_mask(ONE), encode_mask(EMPTY)],
    )
    score = score_expression("v", one, every_other, FRAMES)
    assert score.J == 50 and score.num_frames == 2
    assert score.truth == [[2, 3]] and score.top1 == 100 and score.chance == 50


def test_scores_survive_json():
    one = expression("0", ("a",), {"a": [(0, 1)]})
    tags = {"kind": "motion", "cues": ["shape", "motion"], "appearance_decides": False}
    score = score_expression("v", one, result([ONE] * 4, [1, 0.5, 0, 0]), FRAMES)
    score.tags.update(tags)
    assert score.relevance == [1, 0.5, 0, 0]
    again = ExpressionScore(**json.loads(json.dumps(asdict(score), allow_nan=False)))
    assert again == score and summarize([again]) == summarize([score])


def test_breakdown_by_tags():
    one = expression("0", ("a",), {"a": [(0, 3)]})

    def score(masks, **tags):
        found = score_expression("v", one, result(masks, [1] * 4), FRAMES)
        found.tags.update(tags)
        return found

    scores = [
        score([ONE] * 4, kind="motion", cues=["shape", "motion"], appearance_decides=False),
        score([EMPTY] * 4, kind="motion", cues=["motion"], appearance_decides=False),
        score([ONE] * 4, kind="attribute", cues=[], appearance_decides=True),
        score([ONE] * 4),
    ]
    parts = breakdown(scores)
    assert {tag: list(values) for tag, values in parts.items()} == {
        "kind": ["attribute", "motion"],
        "cues": ["motion", "shape"],
        "appearance_decides": ["no", "yes"],
    }
    sizes = [score([ONE] * 4, size=size) for size in ("10 to 100 %", "0 to 1 %", "4 to 10 %")]
    assert list(breakdown(sizes)["size"]) == ["0 to 1 %", "4 to 10 %", "10 to 100 %"]
    assert parts["kind"]["motion"]["J"] == 50 and parts["kind"]["motion"]["num_expressions"] == 2
    assert parts["cues"]["shape"]["J"] == 100 and parts["cues"]["motion"]["J"] == 50
    assert parts["appearance_decides"]["yes"]["J"] == 100

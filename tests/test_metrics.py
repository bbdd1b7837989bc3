"""Metrics against cases with known answers and against slow implementations made otherwise."""

import math

import numpy as np
import pytest

from tgl_e2e.metrics import (
    boundary_map,
    contour_accuracy,
    dilate_by_disk,
    moment_retrieval,
    region_similarity,
    top1_accuracy,
)

RETRIEVAL_KEYS = {"R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75"}


# Slow implementations, pixel by pixel


def slow_boundary(mask):
    height, width = mask.shape
    edge = np.zeros((height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            down, right = y + 1 < height, x + 1 < width
            if down and right:
                near = [mask[y, x + 1], mask[y + 1, x], mask[y + 1, x + 1]]
            elif right:
                near = [mask[y, x + 1]]
            elif down:
                near = [mask[y + 1, x]]
            else:
                near = []
            edge[y, x] = any(n != mask[y, x] for n in near)
    return edge


def slow_contour_accuracy(pred, gt):
    radius = math.ceil(0.008 * math.hypot(*pred.shape))
    a, b = (np.argwhere(slow_boundary(m)) for m in (pred, gt))
    if len(a) == 0 and len(b) == 0:
        return 1.0
    if len(a) == 0 or len(b) == 0:
        return 0.0
    near = ((a[:, None] - b[None]) ** 2).sum(-1) <= radius**2
    precision, recall = near.any(1).mean(), near.any(0).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def random_mask(rng, shape):
    """A few blobs, at times touching the border, at times none at all; or noise."""
    kind = rng.integers(8)
    if kind == 0:
        return np.zeros(shape, dtype=bool)
    if kind == 1:
        return rng.random(shape) < rng.random() * 0.2
    if kind == 2:
        return np.ones(shape, dtype=bool)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, dtype=bool)
    for _ in range(rng.integers(1, 4)):
        cy, cx = rng.uniform(-5, shape[0] + 5), rng.uniform(-5, shape[1] + 5)
        ry, rx = rng.uniform(1, max(2, shape[0] / 2)), rng.uniform(1, max(2, shape[1] / 2))
        mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    return mask


def slow_average_precision(predictions, truth, threshold):
    """Area under the interpolated curve by integrating max precision at recall >= r, finely."""
    ranked = sorted(predictions[:10], key=lambda w: -w[2])
    taken, points, hits = set(), [], 0
    for rank, (s, e, _) in enumerate(ranked, 1):
        best = None
        for i, (ts, te) in enumerate(truth):
            inter = max(0.0, min(e, te) - max(s, ts))
            iou = inter / ((e - s) + (te - ts) - inter)
            if i not in taken and iou >= threshold and (best is None or iou >= best[0]):
                best = (iou, i)
        if best is not None:
            taken.add(best[1])
            hits += 1
        points.append((hits / len(truth), hits / rank))
    total = 0.0
    for level in range(1, len(truth) + 1):
        reachable = [p for r, p in points if r >= level / len(truth) - 1e-9]
        total += max(reachable, default=0.0) / len(truth)
    return total


# J and F


def test_region_similarity_by_hand():
    gt = np.zeros((4, 5), dtype=bool)
    gt[1:3, 1:3] = True  # 4 pixels
    pred = np.zeros_like(gt)
    pred[1:3, 2:4] = True  # 4 pixels, 2 shared
    assert region_similarity(pred, gt) == pytest.approx(2 / 6)
    assert region_similarity(gt, gt) == 1
    empty = np.zeros_like(gt)
    assert region_similarity(empty, gt) == 0 == region_similarity(gt, empty)
    assert region_similarity(empty, empty) == 1
    per_frame = region_similarity(np.stack([pred, empty, gt]), np.stack([gt, empty, empty]))
    assert per_frame.tolist() == pytest.approx([2 / 6, 1, 0])


def test_boundary_by_hand():
    mask = np.zeros((5, 6), dtype=bool)
    mask[2:4, 2:4] = True
    expected = np.zeros_like(mask)
    expected[1, 1:4] = expected[3, 1:4] = True
    expected[2, [1, 3]] = True
    assert (boundary_map(mask) == expected).all()
    mask = np.zeros((3, 3), dtype=bool)
    mask[2, 1:] = True  # touches the last row and the corner
    assert boundary_map(mask).astype(int).tolist() == [[0, 0, 0], [1, 1, 1], [1, 0, 0]]


def test_contour_accuracy_by_hand():
    shape = (100, 100)  # diagonal 141.4, tolerance ceil(1.13) = 2 pixels
    gt, near, far = (np.zeros(shape, dtype=bool) for _ in range(3))
    gt[20:60, 20:60] = True
    near[22:62, 20:60] = True
    far[24:64, 20:60] = True
    assert contour_accuracy(gt, gt) == 1
    assert contour_accuracy(near, gt) == 1
    assert 0.4 < contour_accuracy(far, gt) < 0.6  # only the left and right sides match
    empty, full = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    assert contour_accuracy(empty, empty) == 1
    assert contour_accuracy(empty, gt) == 0 == contour_accuracy(gt, empty)
    assert contour_accuracy(full, empty) == 1  # a full frame has no boundary: DAVIS's convention
    corner = np.zeros(shape, dtype=bool)
    corner[90:95, 90:95] = True
    assert contour_accuracy(corner, gt) == 0
    frames = contour_accuracy(np.stack([gt, empty]), np.stack([near, gt]))
    assert frames.tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(60))
def test_masks_against_slow_implementations(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 48, 2))
    if seed % 10 == 0:
        shape = (90, 161)  # tolerance 2
    pred, gt = random_mask(rng, shape), random_mask(rng, shape)
    if rng.random() < 0.5:  # a prediction close to the truth
        pred = np.roll(gt, rng.integers(-3, 4, 2), axis=(0, 1))
    assert (boundary_map(gt) == slow_boundary(gt)).all()
    assert contour_accuracy(pred, gt) == pytest.approx(slow_contour_accuracy(pred, gt), abs=1e-12)
    a, b = set(map(tuple, np.argwhere(pred))), set(map(tuple, np.argwhere(gt)))
    expected = len(a & b) / len(a | b) if a | b else 1
    assert region_similarity(pred, gt) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8, 18])
def test_dilation_against_distances(radius):
    rng = np.random.default_rng(radius)
    for shape in [(1, 1), (3, 40), (40, 3), (33, 27)]:
        mask = rng.random(shape) < 0.03
        pixels = np.argwhere(mask)
        y, x = np.mgrid[: shape[0], : shape[1]]
        expected = np.zeros(shape, dtype=bool)
        for py, px in pixels:
            expected |= (y - py) ** 2 + (x - px) ** 2 <= radius**2
        assert (dilate_by_disk(mask, radius) == expected).all()


def test_masks_of_numbers_and_bad_shapes():
    assert region_similarity(np.full((2, 2), 255, np.uint8), np.ones((2, 2), np.uint8)) == 1
    for metric in (region_similarity, contour_accuracy):
        with pytest.raises(ValueError, match="shape"):
            metric(np.zeros((2, 3)), np.zeros((3, 2)))
        with pytest.raises(ValueError, match="must be"):
            metric(np.zeros(3), np.zeros(3))


def test_contour_accuracy_costs_one_dilation_a_mask(monkeypatch):
    """Whatever the length of the outlines: pixel by pixel it would take seconds a frame."""
    import tgl_e2e.metrics as metrics

    calls = []
    dilate = metrics.dilate_by_disk
    monkeypatch.setattr(
        metrics, "dilate_by_disk", lambda *given: calls.append(given) or dilate(*given)
    )
    y, x = np.mgrid[:480, :854]
    gt = ((y - 240) / 200) ** 2 + ((x - 430) / 390) ** 2 < 1
    pred = ((y - 250) / 200) ** 2 + ((x - 420) / 390) ** 2 < 1
    assert 0 < contour_accuracy(pred, gt) < 1
    assert len(calls) == 2


# Moment retrieval


def test_retrieval_by_hand():
    perfect = moment_retrieval([[[0, 10, 0.9]]], [[[0, 10]]])
    assert perfect == dict.fromkeys(RETRIEVAL_KEYS, 100.0)
    # IoU 0.6 with the first true window: counts at 0.5, 0.55 and 0.6 only.
    partial = moment_retrieval([[[0, 6, 0.9]]], [[[0, 10], [50, 60]]])
    assert partial["R1@0.5"] == 100 and partial["R1@0.7"] == 0
    assert partial["mAP@0.5"] == 50 and partial["mAP@0.75"] == 0
    assert partial["mAP"] == pytest.approx(100 * 0.5 * 3 / 10)
    # A false window first: precision 1/2 at full recall.
    late = moment_retrieval([[[30, 40, 0.9], [0, 10, 0.8]]], [[[0, 10]]])
    assert late["R1@0.5"] == 0 and late["mAP"] == pytest.approx(50)
    # A duplicate is a false positive, but costs nothing once all truth is found.
    twice = moment_retrieval([[[0, 10, 0.9], [0, 10, 0.8], [20, 30, 0.7]]], [[[0, 10], [20, 30]]])
    assert twice["mAP"] == pytest.approx(100 * (0.5 * 1 + 0.5 * 2 / 3))


def test_retrieval_uses_ten_windows_in_the_order_of_score():
    false = [[100 + i, 101 + i, 0.9] for i in range(10)]
    assert moment_retrieval([[*false, [0, 10, 0.1]]], [[[0, 10]]])["mAP"] == 0
    unsorted = [[50, 60, 0.1], [0, 10, 0.9]]
    result = moment_retrieval([unsorted], [[[0, 10]]])
    assert result["mAP"] == 100 and result["R1@0.5"] == 0  # R1 looks at the first one given


def test_retrieval_leaves_out_queries_without_truth_and_counts_missing_predictions():
    result = moment_retrieval([[[0, 10, 1.0]], [[3, 4, 0.5]], []], [[[0, 10]], [], [[2, 5]]])
    assert result["R1@0.5"] == 50 and result["mAP"] == 50
    assert all(math.isnan(v) for v in moment_retrieval([], []).values())
    with pytest.raises(ValueError):
        moment_retrieval([[]], [])
    with pytest.raises(ValueError):
        moment_retrieval([[[0, 1]] * 3], [[[0, 1]]])


@pytest.mark.parametrize("seed", range(40))
def test_retrieval_against_a_slow_implementation(seed):
    rng = np.random.default_rng(seed)
    predictions, truths = [], []
    for _ in range(5):
        cuts = np.sort(rng.choice(60, size=2 * rng.integers(1, 4), replace=False))
        truth = [[int(s), int(e) + 1] for s, e in cuts.reshape(-1, 2)]
        windows = []
        for _ in range(rng.integers(1, 14)):
            start, end = truth[rng.integers(len(truth))]
            start, end = start + rng.integers(-3, 4), end + rng.integers(-3, 4)
            windows.append([int(start), int(max(start + 1, end)), float(rng.random())])
        truths.append(truth)
        predictions.append(windows)
    result = moment_retrieval(predictions, truths)
    thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    slow = np.array(
        [
            [slow_average_precision(p, t, x) for x in thresholds]
            for p, t in zip(predictions, truths, strict=True)
        ]
    )
    assert result["mAP"] == pytest.approx(100 * slow.mean(), abs=1e-9)
    assert result["mAP@0.5"] == pytest.approx(100 * slow[:, 0].mean(), abs=1e-9)
    assert result["mAP@0.75"] == pytest.approx(100 * slow[:, 5].mean(), abs=1e-9)
    assert result.keys() == RETRIEVAL_KEYS


# Top-1 accuracy


def test_top1():
    relevance = [np.array([0.1, 0.9, 0.2]), np.array([0.8, 0.1, 0.1]), np.array([0.5, 0.6, 0.7])]
    moments = [np.array([False, True, True]), [(1, 2)], []]
    assert top1_accuracy(relevance, moments) == 50
    assert math.isnan(top1_accuracy([], []))
    with pytest.raises(ValueError):
        top1_accuracy(relevance, moments[:2])
    with pytest.raises(ValueError):
        top1_accuracy(relevance[:1], [np.array([True, False])])
    assert top1_accuracy([np.arange(5)], [[(1, 1), (3, 9)]]) == 100
    assert top1_accuracy([np.arange(5)], [[(1, 1), (3, 3)]]) == 0

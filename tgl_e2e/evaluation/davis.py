"""Ref-DAVIS17: four annotations of each object, one label map per annotation.

A video's expressions come in the order object * 4 + annotation. The objects of one annotation
compete for each pixel, as ReferFormer made the custom: an object's probability counts from 0.5,
the background's is 0.1, and the highest wins. The four annotations are then averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tgl_e2e.data.base import VideoRecord
from tgl_e2e.data.ytvos import ANNOTATIONS
from tgl_e2e.metrics import contour_accuracy, region_similarity
from tgl_e2e.results import Segmentation, encode_mask

BACKGROUND, LOWEST = 0.1, 0.5


def annotation_groups(video: VideoRecord) -> list[list[int]]:
    """Places in `video.expressions` of each annotation's objects, in the order of the objects."""
    count = len(video.expressions)
    return [list(range(a, count, ANNOTATIONS)) for a in range(min(ANNOTATIONS, count))]


def separate_objects(video: VideoRecord, results: Sequence[Segmentation]) -> list[Segmentation]:
    """The results with the objects of each annotation made disjoint.

    Args:
        results: one per expression, with logits.
    """
    separate = list(results)
    for group in annotation_groups(video):
        masks: list[list[dict]] = [[] for _ in group]
        for t in range(results[group[0]].num_frames):
            logits = np.stack([results[n].logits[t] for n in group])  # (objects, h, w)
            labels = label_map(torch.from_numpy(logits), results[group[0]].size)
            for i, rle in enumerate(masks):
                rle.append(encode_mask(labels == i + 1))
        for n, rle in zip(group, masks, strict=True):
            separate[n] = replace(results[n], rle=rle, logits=None)
    return separate


def label_map(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Which object each pixel belongs to: 0 for none, i + 1 for the i-th.

    Args:
        logits: (objects, h, w).
        size: (H, W) of the result.

    Returns:
        (H, W) uint8.
    """
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)
    scores = resized[0].sigmoid()
    scores[scores < LOWEST] = 0
    background = torch.full_like(scores[:1], BACKGROUND)
    return torch.cat([background, scores]).argmax(dim=0).to(torch.uint8).numpy()


# The official script does not trust the order of the objects


def match_objects(
    video: VideoRecord, results: Sequence[Segmentation]
) -> list[list[dict[str, float]]] | None:
    """J and F of each annotation's objects when predictions may be taken for other objects.

    davis2017-evaluation scores Ref-DAVIS17 in its task "unsupervised": predicted objects are
    assigned to true ones so that the sum of J&F is highest. The numbers that papers print are
    these; they can only be higher than those of the objects as they were asked for.

    Returns:
        Per annotation and true object {"J", "F"} in percent; None in a split without masks.
    """
    if any(expression.masks is None for expression in video.expressions):
        return None
    found = []
    for group in annotation_groups(video):
        j, f = np.zeros((2, len(group), len(group)))  # [true, predicted]
        frames = results[group[0]].frames
        for t, position in enumerate(frames):
            predicted = [results[n].mask(t) for n in group]
            true = [video.expressions[n].mask(int(position)) for n in group]
            j += [[region_similarity(mask, truth) for mask in predicted] for truth in true]
            f += [[contour_accuracy(mask, truth) for mask in predicted] for truth in true]
        j, f = 100 * j / len(frames), 100 * f / len(frames)
        best = best_assignment(j + f)
        found.append([{"J": j[row, c], "F": f[row, c]} for row, c in enumerate(best)])
    return found


def best_assignment(values: np.ndarray) -> list[int]:
    """The column of each row of (N, N) values, all different, with the highest sum.

    Goes through sets of columns, 2^N of them: a video has ten objects at the most.
    """

    @cache
    def best(row: int, used: int) -> tuple[float, tuple[int, ...]]:
        """Sum and columns from this row on, without those of a set."""
        if row == len(values):
            return 0.0, ()
        free = (c for c in range(len(values)) if not used >> c & 1)
        rest = ((c, *best(row + 1, used | 1 << c)) for c in free)
        found = ((total + float(values[row, c]), (c, *others)) for c, total, others in rest)
        return max(found, key=lambda one: one[0])

    return list(best(0, 0)[1])


def matched_scores(videos: Sequence[Any]) -> Mapping[str, float | None]:
    """J, F and J&F over all objects and annotations of what `match_objects` found."""
    objects = [obj for video in videos for annotation in video or () for obj in annotation]
    if not objects:
        return {"J": None, "F": None, "J&F": None}
    j, f = (float(np.mean([obj[key] for obj in objects])) for key in ("J", "F"))
    return {"J": round(j, 4), "F": round(f, 4), "J&F": round((j + f) / 2, 4)}

"""Figure 6: true moments against predicted relevance along the timeline, thumbnails above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tgl_e2e.draw.overlay import colour
from tgl_e2e.draw.timeline import save, unframe
from tgl_e2e.evaluation.figures.samples import EvaluationFolder, Sample, telling_frames
from tgl_e2e.evaluation.figures.sheets import panel
from tgl_e2e.moments import spans

_WIDTH, _STRIP, _BAR, _ROW, _HEAD, _FOOT = 12.0, 10.0, 0.25, 0.55, 0.4, 0.5  # inches
_INK, _SOFT, _TRUE = "#26262c", "#8a8a94", "#e0a100"
THUMBNAILS = 8
LEGEND = """curve: predicted relevance; dashed: threshold; bar below it: frames taken as relevant \
(M+); shaded: true moments; white line: target"""


def draw_moments(evaluations: Sequence[EvaluationFolder], names: Sequence[str], path: Path) -> None:
    """Writes a PNG: for each sample thumbnails, a bar of the true moments, and a row with the
    relevance of each evaluation; a triangle marks its best frame.

    Args:
        names: VIDEO/EXPRESSION.
    """
    from matplotlib.figure import Figure

    samples = [evaluations[0].sample(name) for name in names]
    sizes = [sample.video.size() for sample in samples]
    rows = [
        [_STRIP / THUMBNAILS * height / width, _BAR, *[_ROW] * len(evaluations)]
        for height, width in sizes
    ]
    heights = [sum(row) + _HEAD + _FOOT for row in rows]
    size = (_WIDTH, sum(heights) + _BAR)
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    figure.supxlabel(LEGEND, fontsize=8, color=_SOFT)
    parts = figure.subfigures(len(samples), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, sample, row in zip(parts, samples, rows, strict=True):
        _draw_sample(part, evaluations, sample, row)
    save(figure, path)


def _draw_sample(
    part, evaluations: Sequence[EvaluationFolder], sample: Sample, heights: list[float]
) -> None:
    title = f"“{sample.expression.text}”"
    part.suptitle(title, fontsize=13, color=_INK, fontweight="bold", parse_math=False)
    grid = part.add_gridspec(len(heights), THUMBNAILS, height_ratios=heights)
    for i, t in enumerate(telling_frames(sample, THUMBNAILS)):
        cell = part.add_subplot(grid[0, i])
        cell.imshow(panel(sample.frame(t), 240, None, sample.expression.mask(t)))
        cell.set_axis_off()
        behind = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}
        white = {"fontsize": 8, "color": "white", "bbox": behind}
        cell.text(0.04, 0.04, str(t), transform=cell.transAxes, **white)
    frames = sample.video.num_frames
    relevant = sample.expression.relevant(frames)
    true = [] if relevant is None else spans(np.arange(frames), relevant)
    known = "true moments" if relevant is not None else "true moments: not known"
    bar = _add_timeline(part, grid[1, :], known, frames)
    _fill(bar, true, color=_TRUE)
    for n, evaluation in enumerate(evaluations):
        row = evaluation.sample(sample.name).row
        verdicts = {None: "", 100.0: "\nbest frame ▼ is right", 0.0: "\nbest frame ▼ is wrong"}
        label = evaluation.label + verdicts[row["top1"]]
        curve = _add_timeline(part, grid[2 + n, :], label, frames)
        _fill(curve, true, color=_TRUE, alpha=0.18)
        _draw_relevance(curve, row, evaluation.arguments["threshold"], colour(n))
    curve.tick_params(bottom=True, labelbottom=True)
    curve.set_xlabel("frame", fontsize=9, color=_INK, labelpad=1)
    part.align_ylabels()


def _draw_relevance(axes, row, threshold: float, rgb: tuple[int, int, int]) -> None:
    hue = tuple(c / 255 for c in rgb)
    relevance = np.array(row["relevance"])
    axes.set_ylim(0, 1.22)
    _fill(axes, row["moments"], color=hue, ymax=0.1)
    axes.axhline(threshold, color=_SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(relevance, color=hue, linewidth=1.7)
    best = int(relevance.argmax())
    axes.plot(best, relevance[best] + 0.12, marker="v", markersize=8, color=hue, clip_on=False)
    axes.set_yticks([0, 1])
    axes.tick_params(left=True, labelleft=True, labelsize=7, length=2, colors=_SOFT)


def _fill(axes, moments, **style) -> None:
    """Marks intervals of frames."""
    for start, end in moments:
        axes.axvspan(start - 0.5, end + 0.5, linewidth=0, **style)


def _add_timeline(part, place, label: str, frames: int):
    """Axes whose x are frames, with a label at the left."""
    axes = part.add_subplot(place)
    axes.set_xlim(-0.5, frames - 0.5)
    axes.set_yticks([])
    unframe(axes, _INK, _SOFT)
    axes.tick_params(bottom=False)
    left = {"rotation": 0, "ha": "right", "va": "center"}
    axes.set_ylabel(label, fontsize=8.5, color=_INK, labelpad=8, **left)
    return axes

"""Figure 6: true moments against predicted relevance along the timeline, thumbnails above."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tgl_e2e.draw.overlay import colour
from tgl_e2e.evaluation.figures.grid import panel
from tgl_e2e.evaluation.figures.samples import EvaluationFolder, Sample, telling_frames
from tgl_e2e.moments import spans

_WIDTH, _LEFT, _RIGHT = 12.0, 1.9, 0.3  # inches: of the picture, of its margins
_ROW, _BAR, _HEAD, _GAP, _FOOT = 0.62, 0.24, 0.55, 0.06, 0.45
_LEGEND = 0.3
_DPI = 110
_INK, _SOFT, _TRUE = "#26262c", "#8a8a94", "#e0a100"
THUMBNAILS = 8


def draw_moments(evaluations: Sequence[EvaluationFolder], names: Sequence[str], path: Path) -> None:
    """Writes a PNG: for each sample thumbnails, a bar of the true moments, and a row with the
    relevance of each evaluation; a triangle marks its best frame.

    Args:
        names: VIDEO/EXPRESSION.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = [evaluations[0].sample(name) for name in names]
    inner = _WIDTH - _LEFT - _RIGHT
    thumb = (inner + _GAP) / THUMBNAILS - _GAP
    strips = [thumb * s.video.size()[0] / s.video.size()[1] for s in samples]
    heights = [_HEAD + strip + 0.12 + _BAR + len(evaluations) * _ROW + _FOOT for strip in strips]
    total = sum(heights) + _LEGEND
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(
        _LEFT / _WIDTH,
        0.12 / total,
        "curve: predicted relevance; dashed: threshold; bar "
        "below it: frames taken as relevant (M+); shaded: true moments; white line: target",
        fontsize=8,
        color=_SOFT,
    )
    top = total
    for sample, strip, height in zip(samples, strips, heights, strict=True):
        _draw_sample(figure, evaluations, sample, top, total, thumb, strip)
        top -= height
    with warnings.catch_warnings():  # a script that the font lacks is shown as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, format="png")


def _draw_sample(figure, evaluations, sample: Sample, top, total, thumb, strip) -> None:
    frames = sample.video.num_frames
    inner = _WIDTH - _LEFT - _RIGHT

    def axes(bottom: float, tall: float, left: float = _LEFT, width: float = inner):
        return figure.add_axes((left / _WIDTH, bottom / total, width / _WIDTH, tall / total))

    figure.text(
        _LEFT / _WIDTH,
        (top - 0.32) / total,
        f"“{sample.expression.text}”",
        fontsize=13,
        color=_INK,
        fontweight="bold",
        parse_math=False,
    )
    below = top - _HEAD - strip
    shown = telling_frames(sample, THUMBNAILS)
    for i, t in enumerate(shown):
        mask = sample.expression.mask(t)
        cell = axes(below, strip, _LEFT + i * (thumb + _GAP), thumb)
        cell.imshow(panel(sample.frame(t), 240, None, mask), aspect="auto")
        cell.set_axis_off()
        behind = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}
        cell.text(
            0.04, 0.04, str(t), transform=cell.transAxes, fontsize=8, color="white", bbox=behind
        )
    relevant = sample.expression.relevant(frames)
    bar = axes(below - 0.12 - _BAR, _BAR)
    _set_timeline(bar, frames)
    if relevant is not None:
        for start, end in spans(np.arange(frames), relevant):
            bar.axvspan(start - 0.5, end + 0.5, color=_TRUE, linewidth=0)
    _label(bar, "true moments" if relevant is not None else "true moments: not known")
    for n, evaluation in enumerate(evaluations):
        row = evaluation.sample(sample.name).row
        curve = axes(below - 0.12 - _BAR - (n + 1) * _ROW, _ROW - 0.12)
        _draw_relevance(curve, row, evaluation, relevant, frames, n)
        if n == len(evaluations) - 1:
            curve.tick_params(bottom=True, labelbottom=True)
            curve.set_xlabel("frame", fontsize=9, color=_INK, labelpad=1)


def _draw_relevance(axes, row, evaluation, relevant, frames: int, n: int) -> None:
    hue = tuple(c / 255 for c in colour(n))
    relevance = np.array(row["relevance"])
    _set_timeline(axes, frames)
    axes.set_ylim(0, 1.22)
    if relevant is not None:
        for start, end in spans(np.arange(frames), relevant):
            axes.axvspan(start - 0.5, end + 0.5, color=_TRUE, alpha=0.18, linewidth=0)
    for start, end in row["moments"]:
        axes.axvspan(start - 0.5, end + 0.5, ymax=0.1, color=hue, linewidth=0)
    threshold = evaluation.arguments["threshold"]
    axes.axhline(threshold, color=_SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(np.arange(len(relevance)), relevance, color=hue, linewidth=1.7)
    best = int(relevance.argmax())
    axes.plot([best], [relevance[best] + 0.12], marker="v", markersize=8, color=hue, clip_on=False)
    axes.set_yticks([0, 1])
    axes.tick_params(left=True, labelleft=True, labelsize=7, length=2, colors=_SOFT)
    verdicts = {None: "", 100.0: "\nbest frame ▼ is right", 0.0: "\nbest frame ▼ is wrong"}
    _label(axes, evaluation.label + verdicts[row["top1"]])


def _set_timeline(axes, frames: int) -> None:
    axes.set_xlim(-0.5, frames - 0.5)
    axes.set_yticks([])
    axes.tick_params(bottom=False, labelbottom=False, labelsize=8, colors=_INK, length=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_SOFT)


def _label(axes, text: str) -> None:
    """Left of a row."""
    axes.annotate(
        text,
        (0, 0.5),
        xycoords="axes fraction",
        xytext=(-20, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        color=_INK,
    )

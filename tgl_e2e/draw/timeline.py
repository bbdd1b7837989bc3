"""Relevance over time, with frames of the video above it.

matplotlib is imported where it is used, and through its objects only (no pyplot, hence no global
state and no display).
"""

import os
import warnings
from collections.abc import Sequence

import numpy as np

from tgl_e2e.draw.overlay import colour
from tgl_e2e.moments import inside
from tgl_e2e.results import Segmentation

_WIDTH, _SIDE = 12.0, 0.5  # inches: of the picture, of its left and right margin
_ROW, _CURVE = 1.1, 0.66  # of one expression with its caption, of its curve alone
_HEAD, _FOOT, _TIES, _GAP = 0.15, 0.5, 0.12, 0.08
_STRIP = 4.0  # of the frames above, at most
_DPI = 140
THUMBNAIL_SIDE = 360  # pixels of the longer side
_INK, _FAINT = "#333333", "#999999"


def draw_timeline(
    path: str | os.PathLike | None,
    segmentations: Sequence[Segmentation],
    threshold: float,
    thumbnails: Sequence[tuple[int, np.ndarray]] = (),
):
    """Relevance per frame, one row per expression, with the threshold and the M+ spans shaded.

    path: where the PNG goes; None: it is only drawn
    segmentations: all of one video
    threshold: the relevance from which a frame counts as M+
    thumbnails: pairs (frame number, rgb (h, w, 3) uint8) set above, each tied to its frame
    returns: the matplotlib Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    thumb_width = (_WIDTH - 2 * _SIDE + _GAP) / max(len(thumbnails), 4) - _GAP
    tallest = max((t.shape[0] / t.shape[1] for _, t in thumbnails), default=0.0)
    if thumb_width * tallest > _STRIP:  # a video of 2 x 700 pixels is no reason for a tower
        thumb_width = _STRIP / tallest
    strip = thumb_width * tallest
    ties = _TIES if len(thumbnails) else 0.0
    height = _HEAD + strip + ties + len(segmentations) * _ROW + _FOOT
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def add_axes(left: float, bottom: float, width: float, tall: float):
        return figure.add_axes((left / _WIDTH, bottom / height, width / _WIDTH, tall / height))

    for n, segmentation in enumerate(segmentations):
        bottom = _FOOT + (len(segmentations) - 1 - n) * _ROW
        axes = add_axes(_SIDE, bottom, _WIDTH - 2 * _SIDE, _CURVE)
        _draw_row(axes, segmentation, threshold, colour(n))
        if n == len(segmentations) - 1:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("frame", fontsize=9, color=_INK)

    used = len(thumbnails) * (thumb_width + _GAP) - _GAP
    for i, (number, rgb) in enumerate(thumbnails):
        left = (_WIDTH - used) / 2 + i * (thumb_width + _GAP)
        foot = height - _HEAD - strip
        tall = thumb_width * rgb.shape[0] / rgb.shape[1]
        picture = add_axes(left, foot + strip - tall, thumb_width, tall)
        picture.imshow(rgb, interpolation="lanczos", aspect="auto")
        picture.set_axis_off()
        _draw_tie(figure, number, (left + thumb_width / 2, foot), height)
    if path is not None:
        with warnings.catch_warnings():  # a script that the font lacks is shown as boxes
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(path, format="png")
    return figure


def _draw_row(axes, segmentation: Segmentation, threshold: float, rgb: tuple[int, int, int]):
    hue = tuple(c / 255 for c in rgb)
    frames, relevance = segmentation.frames, segmentation.relevance
    half = np.diff(frames).min() / 2 if len(frames) > 1 else 0.5
    for start, end in segmentation.moments:
        axes.axvspan(start - half, end + half, color=hue, alpha=0.22, linewidth=0)
    axes.axhline(threshold, color=_FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(
        frames,
        relevance,
        color=hue,
        linewidth=1.8,
        solid_joinstyle="round",
        marker="o" if len(frames) < 12 else None,
        markersize=3,
    )
    axes.set_xlim(frames[0] - half, frames[-1] + half)
    axes.set_ylim(0, 1.04)
    axes.set_yticks([0, threshold, 1] if 0.15 <= threshold <= 0.85 else [0, 1])
    if len(frames) <= 12:
        axes.set_xticks(frames)
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelbottom=False, labelsize=8, colors=_INK, length=3, color=_FAINT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)
    text = " ".join(segmentation.text.split())
    text = text if len(text) <= 110 else text[:109] + "…"
    count = int(inside(frames, segmentation.moments).sum())
    summary = f"{count} of {len(frames)} frames relevant"
    bold = {"fontsize": 10, "color": hue, "fontweight": "bold"}
    for title, place, style in (
        (text, "left", bold),
        (summary, "right", {"fontsize": 8, "color": _INK}),
    ):
        title = axes.set_title(title, loc=place, pad=7, parse_math=False, **style)
        title.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 4})  # over the ties


def _draw_tie(figure, number: int, foot: tuple[float, float], height: float) -> None:
    """A line from the foot (inches) of a thumbnail to its frame in the topmost row."""
    from matplotlib.lines import Line2D

    row = figure.axes[0]
    x, y = row.transData.transform((number, 0)) / figure.dpi
    top = row.get_position().y1 * height
    xs = [foot[0], foot[0], x, x]
    ys = [foot[1], foot[1] - 0.05, top + 0.3, y + 0.02]
    line = Line2D([v / _WIDTH for v in xs], [v / height for v in ys], color=_FAINT, linewidth=0.7)
    line.set_zorder(-1)
    figure.add_artist(line)

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

_WIDTH, _ROW, _FOOT = 12.0, 1.2, 0.3  # inches: of the picture; of one expression; of the last axis
_STRIP, _TIES = 4.0, 0.4  # inches of the frames above, at most, and between them and the rest
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
    from matplotlib.figure import Figure
    from matplotlib.patches import ConnectionPatch

    count, places = len(segmentations), max(len(thumbnails), 4)
    tallest = max((t.shape[0] / t.shape[1] for _, t in thumbnails), default=0.0)
    # A video of 2 x 700 pixels is no reason for a tower.
    strip = [min(_WIDTH / places * tallest, _STRIP) + _TIES] if len(thumbnails) else []
    heights = [*strip, *[_ROW] * count]
    size = (_WIDTH, sum(heights) + _FOOT)
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white", layout="constrained")
    pads = {"h_pad": 0.1, "w_pad": 0.03, "hspace": 0, "wspace": 0}  # inches
    figure.get_layout_engine().set(rect=(0.02, 0, 0.96, 1), **pads)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    rows = [figure.add_subplot(grid[n - count]) for n in range(count)]
    for n, (axes, segmentation) in enumerate(zip(rows, segmentations, strict=True)):
        _draw_row(axes, segmentation, threshold, colour(n))
    rows[-1].tick_params(labelbottom=True)
    rows[-1].set_xlabel("frame", fontsize=9, color=_INK)
    cells = grid[0].subgridspec(1, 2 * places)
    left = places - len(thumbnails)  # in halves of a cell: few stand in the middle
    for i, (number, rgb) in enumerate(thumbnails):
        cell = figure.add_subplot(cells[left + 2 * i : left + 2 * i + 2], anchor="N")
        cell.imshow(rgb, interpolation="lanczos")
        cell.set_axis_off()
        ends = {"coordsA": cell.transAxes, "coordsB": rows[0].get_xaxis_transform()}
        tie = ConnectionPatch((0.5, 0), (number, 1), **ends, color=_FAINT, lw=0.7, zorder=-1)
        tie.set_in_layout(False)
        figure.add_artist(tie)
    if path is not None:
        save(figure, path)
    return figure


def save(figure, path: str | os.PathLike) -> None:
    """Writes a matplotlib Figure as PNG."""
    with warnings.catch_warnings():  # a script that the font lacks is shown as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, format="png")


def unframe(axes, ink: str, faint: str) -> None:
    """Axes without a frame, for curves over frames; numbers below are left to the last one."""
    axes.tick_params(labelbottom=False, labelsize=8, colors=ink, length=3, color=faint)
    axes.xaxis.get_major_locator().set_params(integer=True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(faint)


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
    unframe(axes, _INK, _FAINT)
    if len(frames) <= 12:
        axes.set_xticks(frames)
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

"""Pictures of a result: masks drawn on frames, and relevance over time.

matplotlib is imported where it is used, and through its objects only (no pyplot, hence no global
state and no display).
"""

import colorsys
import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tgl_e2e.moments import inside
from tgl_e2e.results import Segmentation
from tgl_e2e.video import open_video

# Far apart from each other, and readable both on video and on white paper.
_COLOURS = [
    (0, 140, 255),
    (255, 56, 110),
    (250, 166, 0),
    (16, 185, 110),
    (155, 81, 224),
    (0, 190, 205),
    (255, 110, 30),
    (214, 61, 194),
]
_FILL = 0.45  # opacity of a mask's inside
_WHITE, _GREY, _DARK = (255, 255, 255), (190, 190, 190), (12, 12, 16)


def colour(n: int) -> tuple[int, int, int]:
    """RGB of the n-th expression, the same in every picture."""
    if n < len(_COLOURS):
        return _COLOURS[n]
    hue = n * 0.618034 % 1  # the golden ratio spreads any number of hues
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, 0.9))


# --- one frame -----------------------------------------------------------------------------------


def draw_overlay(
    rgb: np.ndarray,
    masks: np.ndarray,
    relevant: np.ndarray,
    texts: Sequence[str] | None = None,
) -> np.ndarray:
    """A frame with its masks, each with a translucent fill and a contour; on top a label per
    expression, lit in its colour while the frame is M+, and along the lower edge a bar likewise.

    rgb: (H, W, 3) uint8
    masks: (N, H, W) bool
    relevant: (N,) bool, whether the frame is M+ for the expression
    texts: the N expressions; none: no labels
    returns: (H, W, 3) uint8, a new array
    """
    out = rgb.copy()
    for n, mask in enumerate(masks):
        _draw_mask(out, mask, colour(n))
    _draw_bars(out, relevant)
    if texts is not None:
        labels = _labels(tuple(texts), tuple(bool(r) for r in relevant), rgb.shape[:2])
        height, width = labels.shape[:2]
        alpha = labels[..., 3:].astype(np.float32) / 255
        part = out[:height, :width]
        part[:] = np.round(part * (1 - alpha) + labels[..., :3] * alpha)
    return out


def _draw_mask(out: np.ndarray, mask: np.ndarray, rgb: tuple[int, int, int]) -> None:
    """Draws into out (H, W, 3) in place, touching no more than the mask's bounding box."""
    width = max(1, round(min(mask.shape) / 240))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    margin = 2 * width
    box = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    part, mask = out[box], mask[box]
    part[mask] = np.round(part[mask] * (1 - _FILL) + np.array(rgb) * _FILL)
    # A contour in the mask's colour, with a light one around it: seen on every background.
    inner = mask & ~_shrunk(mask, width)
    outer = ~mask & ~_shrunk(~mask, max(1, width // 2))
    part[inner] = rgb
    part[outer] = np.round(part[outer] * 0.25 + 255 * 0.75)


def _shrunk(mask: np.ndarray, steps: int) -> np.ndarray:
    """The mask without its outermost `steps` pixels; the picture's own edge is no contour."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = (
            mask
            & padded[:-2, 1:-1]
            & padded[2:, 1:-1]
            & padded[1:-1, :-2]
            & padded[1:-1, 2:]
        )  # fmt: skip
    return mask


def _draw_bars(out: np.ndarray, relevant: np.ndarray) -> None:
    """Along the lower edge one bar per expression, side by side, only while the frame is M+."""
    height, width = out.shape[:2]
    bar = max(2, round(height / 72))
    edges = np.linspace(0, width, len(relevant) + 1).round().astype(int)
    for n, lit in enumerate(relevant):
        if lit:
            out[-bar:, edges[n] : edges[n + 1]] = colour(n)


@lru_cache(maxsize=64)
def _labels(texts: tuple[str, ...], lit: tuple[bool, ...], size: tuple[int, int]) -> np.ndarray:
    """The labels of all expressions, (h, w, 4) uint8 with opacity, for the upper left corner."""
    height, width = size
    font_size = max(8, min(round(height / 26), round(width / 30), 40))
    scale = 1 if font_size >= 16 else 2  # small letters are drawn twice as large, then reduced
    font = _font(font_size * scale)
    pad, gap = scale * max(3, font_size // 3), scale * max(1, font_size // 6)
    line = round(font_size * scale * 1.25)
    canvas = Image.new("RGBA", (width * scale, height * scale))
    draw = ImageDraw.Draw(canvas)
    top = pad
    for n, text in enumerate(texts):
        if top + line + 2 * gap > 0.5 * height * scale:
            break  # the picture matters more than a long list
        dot = round(font_size * scale * 0.6)
        left = pad + gap
        room = width * scale - left - dot - 4 * pad
        shown = _shortened(text, font, room)
        right = left + pad + dot + pad + draw.textlength(shown, font=font) + pad
        bottom = top + line + 2 * gap
        middle = (top + bottom) / 2
        radius = (bottom - top) / 3.2
        back = (*colour(n), 240) if lit[n] else (*_DARK, 150)
        ink = _ink_on(colour(n)) if lit[n] else _GREY
        draw.rounded_rectangle((left, top, right, bottom), radius, fill=back)
        spot = (left + pad, middle - dot / 2, left + pad + dot, middle + dot / 2)
        draw.ellipse(spot, fill=ink if lit[n] else colour(n))
        draw.text((left + 2 * pad + dot, middle), shown, font=font, fill=ink, anchor="lm")
        top = bottom + gap
    canvas = canvas.crop((0, 0, width * scale, min(height * scale, int(top + scale))))
    small = canvas.resize((width, max(1, canvas.height // scale)), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _ink_on(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white letters, whichever is easier to read on a colour."""
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    return _DARK if luma > 150 else _WHITE


def _shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings DejaVu Sans, which has far more alphabets than pillow's own font.
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


# --- over time -----------------------------------------------------------------------------------

_WIDTH, _SIDE = 12.0, 0.5  # inches: of the picture, of its left and right margin
_ROW, _CURVE = 1.1, 0.66  # of one expression with its caption, of its curve alone
_HEAD, _FOOT, _TIES, _GAP = 0.15, 0.5, 0.12, 0.08
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
    strip = max((thumb_width * t.shape[0] / t.shape[1] for _, t in thumbnails), default=0.0)
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


def draw_strip(
    path: str | os.PathLike | None,
    video: object,
    segmentations: Sequence[Segmentation],
    threshold: float,
    count: int = 6,
):
    """One picture: `count` frames spread over the video with their masks, the timeline below.

    video: whatever `open_video` takes, the one that was segmented
    returns: the matplotlib Figure
    """
    first = segmentations[0]
    wanted = {int(first.frames[i]): i for i in spread(first.num_frames, count)}
    start, end = min(wanted), max(wanted) + 1
    thumbnails = [
        (number, overlay_of(rgb, segmentations, wanted[number], side=THUMBNAIL_SIDE))
        for number, rgb in open_video(video).frames(start, end)
        if number in wanted
    ]
    return draw_timeline(path, segmentations, threshold, thumbnails)


def overlay_of(
    rgb: np.ndarray,
    segmentations: Sequence[Segmentation],
    i: int,
    labels: bool = False,
    side: int | None = None,
) -> np.ndarray:
    """`draw_overlay` for the i-th processed frame of some segmentations.

    rgb: (H, W, 3) uint8
    labels: whether the texts are drawn
    side: reduces the picture until neither side is longer; before drawing, so that contours stay
    returns: (H, W, 3) or (h, w, 3) uint8
    """
    masks = np.stack([s.mask(i) for s in segmentations])
    relevant = np.array([inside(s.frames[i], s.moments) for s in segmentations])
    if side is not None and side < max(rgb.shape[:2]):
        scale = side / max(rgb.shape[:2])
        size = tuple(max(1, round(n * scale)) for n in rgb.shape[1::-1])
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
        grey = [Image.fromarray(m.astype(np.uint8) * 255) for m in masks]
        masks = np.stack([np.asarray(g.resize(size, Image.Resampling.BOX)) > 127 for g in grey])
    return draw_overlay(rgb, masks, relevant, [s.text for s in segmentations] if labels else None)


def spread(num_frames: int, count: int) -> list[int]:
    """Up to `count` positions below num_frames, evenly spread, each in the middle of its part."""
    count = min(count, num_frames)
    return [int((i + 0.5) * num_frames / count) for i in range(count)]


def _draw_row(axes, segmentation: Segmentation, threshold: float, rgb: tuple[int, int, int]):
    hue = tuple(c / 255 for c in rgb)
    frames, relevance = segmentation.frames, segmentation.relevance
    half = np.diff(frames).min() / 2 if len(frames) > 1 else 0.5
    for start, end in segmentation.moments:
        axes.axvspan(start - half, end + half, color=hue, alpha=0.22, linewidth=0)
    axes.axhline(threshold, color=_FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(frames, relevance, color=hue, linewidth=1.8, solid_joinstyle="round",
              marker="o" if len(frames) < 12 else None, markersize=3)  # fmt: skip
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

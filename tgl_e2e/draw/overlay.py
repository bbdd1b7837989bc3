"""Masks drawn on frames."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tgl_e2e.moments import inside
from tgl_e2e.results import Segmentation

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


def draw_overlay(
    rgb: np.ndarray, masks: np.ndarray, relevant: np.ndarray, texts: Sequence[str] | None = None
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
    inner = mask & ~shrunk(mask, width)
    outer = ~mask & ~shrunk(~mask, max(1, width // 2))
    part[inner] = rgb
    part[outer] = np.round(part[outer] * 0.25 + 255 * 0.75)


def shrunk(mask: np.ndarray, steps: int) -> np.ndarray:
    """The mask without its outermost `steps` pixels; the picture's own edge is no contour."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
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
    font = load_font(font_size * scale)
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
def load_font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings DejaVu Sans, which has far more alphabets than pillow's own font.
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


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

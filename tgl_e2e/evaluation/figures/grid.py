"""Pictures set in rows under a title, with captions at the left and heads above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tgl_e2e.draw.overlay import colour, load_font, shrunk

PREDICTED, LIT = colour(1), colour(0)  # edge of a predicted mask; bar of an M+ frame
_PAPER, _INK, _SOFT = (255, 255, 255), (38, 38, 44), (105, 105, 115)
_GAP, _MARGIN, _TITLE, _TEXT, _SMALL = 6, 16, 21, 15, 13  # pixels, and sizes of letters


@dataclass(frozen=True)
class GridRow:
    """caption: lines at the left, the first in bold ink; pictures: (H, W, 3) uint8 each."""

    caption: Sequence[str]
    pictures: Sequence[np.ndarray]


def panel(
    rgb: np.ndarray,
    side: int,
    predicted: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    lit: bool = False,
) -> np.ndarray:
    """A frame for a grid. What is predicted keeps its colours, edged in pink, and all else is dim:
    seen whatever the colour of the object. A white line runs around the true mask.

    Args:
        rgb: (H, W, 3) uint8; predicted, truth: (H, W) bool; predicted=None dims nothing.
        side: of the longer side of the result, in pixels.
        lit: whether the frame is M+: marked with a bar along its lower edge.
    """
    scale = side / max(rgb.shape[:2])
    size = tuple(max(1, round(x * scale)) for x in rgb.shape[1::-1])
    out = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    if predicted is not None:
        mask = _resized(predicted, size)
        grey = out[~mask].mean(axis=-1, keepdims=True)
        out[~mask] = 0.22 * out[~mask] + 0.16 * grey
        out[mask & ~shrunk(mask, 2)] = PREDICTED
    if truth is not None:
        mask = _resized(truth, size)
        out[~shrunk(~mask, 3) & ~mask] = (0, 0, 0)
        out[~shrunk(~mask, 2) & ~mask] = (255, 255, 255)
    if lit:
        out[-max(4, round(out.shape[0] / 32)) :] = LIT
    return out


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR)) > 127


def compose(
    title: str, rows: Sequence[GridRow], heads: Sequence[str] = (), note: str = ""
) -> np.ndarray:
    """One picture (H, W, 3) uint8 of rows of pictures of equal size.

    Args:
        heads: above the columns.
        note: in small letters under the title.
    """
    caption_width = 250 if any(any(row.caption) for row in rows) else 0
    cell_height, cell_width = rows[0].pictures[0].shape[:2]
    columns = max(len(row.pictures) for row in rows)
    width = max(420, 2 * _MARGIN + caption_width + columns * (cell_width + _GAP) - _GAP)
    lines = [(line, _TITLE, _INK, 28) for line in _wrapped(title, _TITLE, width)]
    lines += [(line, _SMALL, _SOFT, 18) for line in _wrapped(note, _SMALL, width)]
    head_lines = [_wrapped(head, _SMALL, cell_width + 2 * _MARGIN) for head in heads]
    top = _MARGIN + sum(tall for *_, tall in lines) + (8 if lines else 0)
    below_heads = top + 18 * max((len(head) for head in head_lines), default=0)
    height = below_heads + len(rows) * (cell_height + _GAP) - _GAP + _MARGIN
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    y = _MARGIN - 4
    for line, size, ink, tall in lines:
        draw.text((_MARGIN, y), line, font=load_font(size), fill=ink)
        y += tall
    left = _MARGIN + caption_width
    for i, head in enumerate(head_lines):
        for k, line in enumerate(head):
            x = left + i * (cell_width + _GAP)
            draw.text((x, top + 18 * k - 2), line, font=load_font(_SMALL), fill=_INK)
    for r, row in enumerate(rows):
        y = below_heads + r * (cell_height + _GAP)
        for i, picture in enumerate(row.pictures):
            canvas.paste(Image.fromarray(picture), (left + i * (cell_width + _GAP), y))
        _caption(draw, row.caption, y, caption_width, cell_height)
    return np.asarray(canvas)


def _caption(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], top: int, width: int, height: int
) -> None:
    y = top
    for i, text in enumerate(lines):
        size, ink = (_TEXT, _INK) if i == 0 else (_SMALL, _SOFT)
        for line in _wrapped(text, size, width + _MARGIN):
            if y + size > top + height:
                return
            draw.text((_MARGIN, y), line, font=load_font(size), fill=ink)
            y += size + 5


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines that fit between the margins of a picture of this width."""
    font, lines = load_font(size), []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines

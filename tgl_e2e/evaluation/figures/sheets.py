"""The paper's qualitative figures, from evaluations (Figures 6 and 8) and from a network (7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from tgl_e2e.draw.overlay import colour, load_font, shrunk
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.figures.samples import EvaluationFolder, Sample, telling_frames

if TYPE_CHECKING:
    from tgl_e2e.model.tgl import TGL

SIDE = 220  # pixels of a frame in a grid
MASKS_NOTE = "bright, pink edge: predicted; white line: ground truth; blue bar: relevant frame (M+)"
PREDICTED, LIT = colour(1), colour(0)  # edge of a predicted mask; bar of an M+ frame
_PAPER, _INK, _SOFT = (255, 255, 255), (38, 38, 44), (105, 105, 115)
_GAP, _MARGIN, _TITLE, _TEXT, _SMALL = 6, 16, 21, 15, 13  # pixels, and sizes of letters
_HEADER = 1200  # pixels that title, note and heads take at most


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
    """One picture (H, W, 3) uint8 of rows of pictures of equal size, captions at the left.

    Args:
        heads: above the columns.
        note: in small letters under the title.
    """
    caption_width = 250 if any(any(row.caption) for row in rows) else 0
    cell_height, cell_width = rows[0].pictures[0].shape[:2]
    columns = max(len(row.pictures) for row in rows)
    lefts = [_MARGIN + caption_width + i * (cell_width + _GAP) for i in range(columns)]
    width = max(420, lefts[-1] + cell_width + _MARGIN)
    size = (width, _HEADER + len(rows) * (cell_height + _GAP) + _MARGIN)  # at most: cut below
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    y = _write(draw, (_MARGIN, _MARGIN), title, _TITLE, _INK, width, _HEADER)
    y = below = _write(draw, (_MARGIN, y), note, _SMALL, _SOFT, width, _HEADER) + _GAP
    for left, head in zip(lefts, heads, strict=False):
        room = cell_width + 2 * _MARGIN
        below = max(below, _write(draw, (left, y), head, _SMALL, _INK, room, _HEADER))
    y = min(below, _HEADER)
    for row in rows:
        for left, picture in zip(lefts, row.pictures, strict=False):
            canvas.paste(Image.fromarray(picture), (left, y))
        at, bottom = y, y + cell_height
        for i, text in enumerate(row.caption):
            size, ink = (_TEXT, _INK) if i == 0 else (_SMALL, _SOFT)
            at = _write(draw, (_MARGIN, at), text, size, ink, caption_width + _MARGIN, bottom)
        y = bottom + _GAP
    return np.asarray(canvas.crop((0, 0, width, y - _GAP + _MARGIN)))


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, ink, width: int, end
) -> int:
    """Text in as many lines as fit above `end`, each between the margins of a picture of this
    width; returns where the next would stand."""
    (x, y), font, lines = place, load_font(size), []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    for line in lines:
        if y + size > end:
            break
        draw.text((x, y), line, font=font, fill=ink)
        y += size + 5
    return y


def draw_comparison(
    evaluations: Sequence[EvaluationFolder], name: str, count: int = 6
) -> np.ndarray:
    """Figure 8: one sample, a row for the truth and one for each evaluation; (H, W, 3) uint8."""
    sample = evaluations[0].sample(name)
    positions = telling_frames(sample, count)
    rows = []
    if sample.expression.masks is not None:
        relevant = sample.expression.relevant(sample.video.num_frames)
        lit = [relevant is not None and relevant[t] for t in positions]
        shown = [
            panel(sample.frame(t), SIDE, None, sample.expression.mask(t), on)
            for t, on in zip(positions, lit, strict=True)
        ]
        rows.append(GridRow(["ground truth"], shown))
    for evaluation in evaluations:
        mine = evaluation.sample(name)
        shown = [_predicted(evaluation, mine, t, SIDE) for t in positions]
        rows.append(GridRow([evaluation.label, *_score_lines(mine)], shown))
    heads = [f"frame {t}" for t in positions]
    return compose(f"“{sample.expression.text}”", rows, heads, MASKS_NOTE)


def draw_sheet(evaluation: EvaluationFolder, worst: int, best: int, count: int = 5) -> np.ndarray:
    """The worst and the best samples of an evaluation, one row each; (H, W, 3) uint8.

    Raises:
        InputError: no sample is asked for, or none has a score.
    """
    ranked, parts = evaluation.ranked(), []
    if min(worst, best) < 0 or worst + best == 0:
        raise InputError("--worst and --best: give how many samples, one or more in all")
    if not ranked:
        raise InputError(f"{evaluation.folder}: no sample has a score, the split has no masks")
    for chosen, which in ((ranked[:worst], "worst"), (ranked[::-1][:best], "best")):
        rows = []
        for sample in chosen:
            positions = telling_frames(sample, count)
            caption = [f"“{sample.expression.text}”", *_score_lines(sample), sample.name]
            rows.append(GridRow(caption, [_predicted(evaluation, sample, t) for t in positions]))
        data = f"{evaluation.dataset.kind} {evaluation.dataset.split}, {evaluation.label}"
        title = f"{len(rows)} {which} of {len(ranked)}: {data}"
        parts += [compose(title, rows, note=MASKS_NOTE)] if rows else []
    width = max(part.shape[1] for part in parts)
    margins = [((0, 0), (0, width - part.shape[1]), (0, 0)) for part in parts]
    padded = [np.pad(p, m, constant_values=255) for p, m in zip(parts, margins, strict=True)]
    return np.concatenate(padded)


def draw_features(
    model: TGL, evaluation: EvaluationFolder, name: str, count: int = 4
) -> np.ndarray:
    """Figure 7: frames, F_SAM and F_Adp as colours (PCA), the predicted and the true mask.

    The three first principal components of all frames' features become red, green and blue, for
    each of the two kinds by itself: equal colours mean alike features within one column.
    """
    sample = evaluation.sample(name)
    positions = telling_frames(sample, count)
    plain, adapted = features_of(model, sample, positions)
    paths = "not relevant (M-): decoded from F_SAM", "relevant (M+): decoded from F_Adp"
    rows = []
    for i, t in enumerate(positions):
        rgb = sample.frame(t)
        parts = [rgb, _enlarged(plain[i], rgb), _enlarged(adapted[i], rgb)]
        shown = [panel(part, SIDE) for part in parts]
        caption = [f"frame {t}", paths[_inside(sample, t)]]
        rows.append(GridRow(caption, [*shown, _predicted(evaluation, sample, t, SIDE)]))
    return compose(
        f"“{sample.expression.text}”",
        rows,
        ["frame", "F_SAM: without language", "F_Adp: with language", "mask"],
        "features: first three principal components over all frames as red, green, blue; "
        + MASKS_NOTE,
    )


def features_of(
    model: TGL, sample: Sample, positions: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """F_SAM and F_Adp of some frames, seen as one window, as pictures: (T, h, w, 3) uint8 each."""
    import torch

    from tgl_e2e.fit import Fit

    device, fit = next(model.parameters()).device, Fit.of(model)
    frames = torch.stack([fit.shrink(sample.frame(t)) for t in positions]).to(device)
    first, last = min(positions), max(positions)
    span = max(last - first + 1, model.config.block)
    times = torch.tensor([[(t - first) / span for t in positions]], device=device)
    with torch.no_grad(), model.autocast():
        tokens = model.text.tokenize([sample.expression.text]).to(device)
        prefix = model.encode_prefix(frames)
        plain = model.extract_plain(prefix).top
        adapted = model.extract_adapted(prefix, tokens, times, align=False).features.top
    covered = fit.inside(sample.video.size())  # the rest of the square is filled
    height, width = (-(-x * plain.shape[-1] // fit.side) for x in covered)
    return tuple(principal_colours(x[..., :height, :width]) for x in (plain, adapted))


def principal_colours(features) -> np.ndarray:
    """The first three principal components of (T, C, h, w) features as (T, h, w, 3) uint8, each
    stretched from its 2nd to its 98th percentile."""
    values = features.float().permute(0, 2, 3, 1).cpu().numpy()
    flat = values.reshape(-1, values.shape[-1])
    flat = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    # A component's sign means nothing; fixed, so that equal features give equal pictures.
    signs = np.sign(directions[np.arange(3), np.abs(directions[:3]).argmax(axis=1)])
    parts = flat @ (directions[:3] * signs[:, None]).T
    low, high = np.percentile(parts, [2, 98], axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    return (255 * scaled).round().astype(np.uint8).reshape(*values.shape[:3], 3)


def _enlarged(picture: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    size = rgb.shape[1], rgb.shape[0]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _predicted(
    evaluation: EvaluationFolder, sample: Sample, position: int, side: int = 150
) -> np.ndarray:
    """A frame with its predicted and its true mask."""
    frame, truth = sample.frame(position), sample.expression.mask(position)
    return panel(frame, side, evaluation.mask(sample, position), truth, _inside(sample, position))


def _inside(sample: Sample, position: int) -> bool:
    """Whether the evaluation took a frame as M+."""
    return any(start <= position <= end for start, end in sample.row["moments"])


def _score_lines(sample: Sample) -> list[str]:
    row = sample.row
    lines = [] if row["J&F"] is None else [f"J&F {row['J&F']:.1f}"]
    if row["top1"] is not None:
        lines.append("best frame is relevant" if row["top1"] else "best frame is not relevant")
    kind = row["tags"].get("kind")
    return lines + ([f"kind: {kind.replace('_', ' ')}"] if kind else [])

"""Validation while training: fixed clips, shared among the processes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset

from tgl_e2e.data.clips import ClipBatch, collate
from tgl_e2e.draw import draw_overlay
from tgl_e2e.model.features import TGLOutput

LOGGER = logging.getLogger(__name__)


class Validation:
    """
    Args:
        clips: N clips, always the same ones, so that figures can be compared.
        batch_size: clips of one forward pass on one process.
    """

    def __init__(self, clips: Dataset, batch_size: int, accelerator) -> None:
        self.accelerator = accelerator
        groups = [*BatchSampler(range(len(clips)), batch_size, drop_last=False)]
        # Every process makes the same number of passes, as sharded weights need; what comes twice
        # for it is counted once.
        count, own = accelerator.num_processes, accelerator.process_index
        rounds = range(-(-len(groups) // count))
        self.indices = [groups[(r * count + own) % len(groups)] for r in rounds]
        self.loader = DataLoader(
            clips, batch_sampler=self.indices, collate_fn=collate, generator=torch.Generator()
        )

    def run(
        self, module: nn.Module, picture: Path | None, stopping: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Means over all clips, the same on every process; None if it was stopped.

        Args:
            module: a TrainingModule, wrapped or not.
            picture: where to draw the first clips of the main process; None: nowhere.
            stopping: asked before each pass, on every process; True ends the validation.

        Returns:
            ``loss``; but for the dense stage also iou, iou_carried, top1, tam_accuracy where they
            are defined, and iou per cue.
        """
        module.eval()
        rows: list[tuple[int, dict[str, float]]] = []
        for number, (indices, batch) in enumerate(zip(self.indices, self.loader, strict=True)):
            if stopping():
                module.train()
                return None
            batch = batch.to(self.accelerator.device)
            with torch.no_grad(), self.accelerator.autocast():
                losses, output = module(batch)
            if output is None:
                common, scores = losses, [{}] * len(indices)
            else:
                common, scores = {"loss": losses["loss"]}, clip_scores(output, batch)
            common = {name: value.item() for name, value in common.items()}
            rows += [(i, {**common, **score}) for i, score in zip(indices, scores, strict=True)]
            if number == 0 and picture is not None and output is not None:
                try:
                    picture.parent.mkdir(exist_ok=True)
                    draw_samples(batch, output, picture)
                except OSError as error:  # worth a word, not the run
                    LOGGER.warning("%s could not be written (%s)", picture, error.strerror)
        module.train()
        values: dict[str, list[float]] = defaultdict(list)
        for row in dict(gather_object(rows)).values():
            for name, value in row.items():
                values[name].append(value)
        return {name: round(sum(v) / len(v), 4) for name, v in sorted(values.items())}


def predicted_masks(output: TGLOutput, batch: ClipBatch) -> Tensor:
    """(B, T, H, W) bool, as large as the targets."""
    size = batch.target.shape[-2:]
    return nn.functional.interpolate(output.masks.float(), size=size, mode="bilinear") > 0


@torch.no_grad()
def clip_scores(output: TGLOutput, batch: ClipBatch) -> list[dict[str, float]]:
    """Per clip: iou and the same as iou/CUE over its M+ frames (over all where there is none),
    iou_carried over its M- frames; top1, whether the TAM's best frame lies in M+, and tam_accuracy,
    the share of frames that it takes for what they are."""
    masks, scores = predicted_masks(output, batch), []
    for b, cue in enumerate(batch.cues):
        lit = batch.relevant[b]
        row: dict[str, float] = {}
        parts = {"iou": lit, "iou_carried": ~lit} if lit.any() else {"iou": ~lit}
        for name, chosen in parts.items():
            if not chosen.any():
                continue
            overlap = (masks[b, chosen] & batch.target[b, chosen]).sum().item()
            union = (masks[b, chosen] | batch.target[b, chosen]).sum().item()
            row[name] = overlap / union if union else 1.0
        row[f"iou/{cue}"] = row["iou"]
        if output.relevance is not None:
            guessed = output.relevance[b] > 0
            row["tam_accuracy"] = (guessed == batch.relevant[b]).float().mean().item()
            if batch.relevant[b].any():
                row["top1"] = float(batch.relevant[b, output.relevance[b].argmax()])
        scores.append(row)
    return scores


def draw_samples(batch: ClipBatch, output: TGLOutput, path: Path, clips: int = 6) -> None:
    """One picture: for each of a few clips the true masks above the predicted ones, M+ marked."""
    masks = predicted_masks(output, batch)
    guessed = batch.relevant if output.relevance is None else output.relevance > 0
    rows = []
    for b in range(min(clips, len(batch.texts))):
        frames = batch.frames[b].permute(0, 2, 3, 1).cpu().numpy()
        for shown, relevant, text in (
            (batch.target[b], batch.relevant[b], batch.texts[b]),
            (masks[b], guessed[b], "predicted"),
        ):
            labels = [[text], *[None] * (len(frames) - 1)]
            shown, relevant = shown[:, None].cpu().numpy(), relevant[:, None].cpu().numpy()
            cells = map(draw_overlay, frames, shown, relevant, labels)
            rows.append(np.concatenate([*cells], axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)

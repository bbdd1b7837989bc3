"""The module that ``train.py`` hands to Accelerate, and what it reports of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tgl_e2e.data.clips import ClipBatch, ClipOptions
from tgl_e2e.data.motion import ATTRIBUTES
from tgl_e2e.losses import dense_loss, tgl_loss
from tgl_e2e.model.dense import DenseHead
from tgl_e2e.model.tgl import TGL, AdaptedClip, TGLOutput
from tgl_e2e.train_config import TrainConfig
from tgl_e2e.visualize import draw_overlay


def clip_options(config: TrainConfig, image_size: int, block: int) -> ClipOptions:
    """The part of a stage's configuration that says which clips are drawn."""
    return ClipOptions(
        num_frames=config.num_frames, block=block, size=image_size, static=config.static,
        full_share=config.full_share, uniform_share=config.uniform_share,
        moment_sampling=config.moment_sampling, selective=config.selective, cues=config.cues,
        remember_target=config.remember_target,
    )


class TrainingModule(nn.Module):
    """The network, the dense head and the losses of one stage behind a single ``forward``.

    Args:
        stage: ``dense`` (image encoder and head alone), ``image`` (T = 1), ``align`` (clips,
            language path and TAM without memory) or ``video`` (everything).
    """

    def __init__(self, model: TGL, stage: str, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.config = config
        self.head = DenseHead(model.vision.dim, ATTRIBUTES) if config.dense_weight > 0 else None
        model.set_stage(stage)

    def forward(self, batch: ClipBatch) -> tuple[dict[str, Tensor], TGLOutput | None]:
        """
        Args:
            batch: B clips of T frames.

        Returns:
            Scalar losses (``loss`` is what is minimised), and the network's output (None in the
            dense stage).
        """
        if self.stage == "dense":
            prefix = self.model.encode_prefix(batch.frames.flatten(0, 1))
            return self._dense(self.model.extract_plain(prefix), batch.labels), None
        if self.stage == "align":
            return self._align(batch)
        teach = self.training and self.config.remember_target > 0
        output = self.model(
            batch.frames, batch.texts, batch.relevant, batch.positions,
            batch.target if teach else None, batch.remember if teach else None,
        )
        losses = tgl_loss(
            output.masks, output.presence, output.relevance, batch.target, batch.relevant,
            **self._weights(),
        )
        return self._with_dense(losses, output.adapted, batch), output

    def _align(self, batch: ClipBatch) -> tuple[dict[str, Tensor], TGLOutput]:
        """Masks of the frames on the language path only; elsewhere the output stays empty."""
        prediction, language, adapted = self.model.ground(
            batch.frames, batch.texts, batch.relevant, batch.positions
        )
        masks = prediction.masks.new_full((*language.shape, *prediction.masks.shape[1:]), -1.0)
        presence = prediction.presence.new_full(language.shape, -1.0)
        masks[language], presence[language] = prediction.masks, prediction.presence
        losses = tgl_loss(
            masks, presence, adapted.relevance, batch.target, batch.relevant, language,
            **self._weights(),
        )
        output = TGLOutput(masks, presence, adapted.relevance, adapted)
        return self._with_dense(losses, adapted, batch), output

    def _weights(self) -> dict[str, float]:
        config = self.config
        return {"dice": config.dice_weight, "focal": config.focal_weight,
                "tam": config.tam_weight, "present": config.presence_weight}

    def _with_dense(
        self, losses: dict[str, Tensor], adapted: AdaptedClip, batch: ClipBatch
    ) -> dict[str, Tensor]:
        if self.head is not None:
            dense = self._dense(adapted.features, batch.labels)
            losses["loss"] = losses["loss"] + self.config.dense_weight * dense.pop("loss")
            losses.update({f"dense/{name}": value for name, value in dense.items()})
        return losses

    def _dense(self, features, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.head(features)
        if self.stage in ("dense", "image"):
            logits.pop("motion")  # one frame shows no motion
        return dense_loss(logits, {name: labels[name] for name in logits})


@torch.no_grad()
def clip_scores(output: TGLOutput, batch: ClipBatch) -> list[dict[str, float | str]]:
    """Per clip: its cue, IoU over its M+ frames (over all where there is none), and whether the
    TAM's best frame lies in M+; iou_carried is that of its M- frames."""
    size = batch.target.shape[-2:]
    masks = nn.functional.interpolate(output.masks, size=size, mode="bilinear") > 0
    scores = []
    for b, cue in enumerate(batch.cues):
        lit = batch.relevant[b]
        row: dict[str, float | str] = {"cue": cue}
        for name, chosen in (("iou", lit if lit.any() else ~lit), ("iou_carried", ~lit)):
            if not chosen.any() or (name == "iou_carried" and not lit.any()):
                continue
            overlap = (masks[b, chosen] & batch.target[b, chosen]).sum().item()
            union = (masks[b, chosen] | batch.target[b, chosen]).sum().item()
            row[name] = overlap / union if union else 1.0
        if output.relevance is not None:
            guessed = output.relevance[b] > 0
            row["tam_accuracy"] = (guessed == batch.relevant[b]).float().mean().item()
            if batch.relevant[b].any():
                row["top1"] = float(batch.relevant[b, output.relevance[b].argmax()])
        scores.append(row)
    return scores


def draw_samples(batch: ClipBatch, output: TGLOutput, path: Path, clips: int = 6) -> None:
    """One picture: for each of a few clips the true masks above the predicted ones, M+ marked."""
    size = batch.target.shape[-2:]
    masks = nn.functional.interpolate(output.masks.float(), size=size, mode="bilinear") > 0
    guessed = batch.relevant if output.relevance is None else output.relevance > 0
    rows = []
    for b in range(min(clips, len(batch.texts))):
        frames = batch.frames[b].permute(0, 2, 3, 1).cpu().numpy()
        for shown, relevant, text in ((batch.target[b], batch.relevant[b], batch.texts[b]),
                                      (masks[b], guessed[b], "predicted")):
            rows.append(np.concatenate([
                draw_overlay(frame, mask[None].cpu().numpy(), lit[None].cpu().numpy(),
                             [text] if t == 0 else None)
                for t, (frame, mask, lit) in enumerate(zip(frames, shown, relevant, strict=True))
            ], axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)

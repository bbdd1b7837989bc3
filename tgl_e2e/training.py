"""What ``train.py`` is told, and the module that it hands to Accelerate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tgl_e2e.config import from_dict, read_preset
from tgl_e2e.data.motion import ATTRIBUTES, ClipBatch, ClipOptions
from tgl_e2e.errors import InputError
from tgl_e2e.losses import dense_loss, tgl_loss
from tgl_e2e.model.dense import DenseHead
from tgl_e2e.model.tgl import TGL, TGLOutput
from tgl_e2e.visualize import draw_overlay

STAGES = ("dense", "image", "video")


def _value(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training. Every value can be overridden on the command line: ``lr=1e-4``."""

    steps: int = _value(1000, "optimizer steps")
    batch_size: int = _value(4, "clips per optimizer step, over all processes and accumulation")
    accumulation: int = _value(1, "backward passes per optimizer step")
    num_frames: int = _value(8, "T, frames of a clip; 1 in the image stage")
    static: bool = _value(False, "scenes in which nothing moves (image stage)")
    lr: float = _value(1e-4, "learning rate after warm-up")
    warmup: int = _value(100, "steps of linear warm-up; cosine decay to 2 % afterwards")
    weight_decay: float = _value(0.01, "AdamW's weight decay")
    clip_norm: float = _value(1.0, "gradients are clipped to this norm")
    seed: int = _value(0, "of weights and samples")
    workers: int = _value(1, "processes that render clips")
    full_share: float = _value(0.0, "share of clips at level full, the rest is easy")
    uniform_share: float = _value(0.0, "share of clips whose frames are dealt as in inference")
    moment_sampling: bool = _value(True, "half of a clip comes from M+ (ablation: any frames)")
    selective: bool = _value(True, "OSS: only objects whose moment is in the clip are supervised")
    remember_target: float = _value(0.0, "share of batches whose memory is written from true masks")
    cues: dict[str, float] = field(
        default_factory=lambda: {"mixed": 1.0},
        metadata={"help": "share of scenes built so that this cue is needed; mixed: no control"},
    )
    dice_weight: float = _value(1.0, "lambda_dice")
    focal_weight: float = _value(20.0, "lambda_foc")
    tam_weight: float = _value(1.0, "lambda_tam")
    presence_weight: float = _value(0.1, "weight of SAM2's object-presence BCE")
    dense_weight: float = _value(0.0, "weight of per-pixel classification (training from scratch)")
    log_every: int = _value(20, "steps between log lines")
    eval_every: int = _value(250, "steps between validations and sample pictures")
    eval_clips: int = _value(96, "clips per validation")
    save_every: int = _value(250, "steps between resumable checkpoints")

    @classmethod
    def from_preset(cls, name: str, stage: str) -> TrainConfig:
        stages = read_preset(name).get("train", {})
        if stage not in stages:
            raise InputError(f"preset {name!r} has no stage {stage!r}; it has {', '.join(stages)}")
        return from_dict(cls, stages[stage], f"train.{stage}")

    def clip_options(self, image_size: int, block: int) -> ClipOptions:
        return ClipOptions(
            num_frames=self.num_frames, block=block, size=image_size, static=self.static,
            full_share=self.full_share, uniform_share=self.uniform_share,
            moment_sampling=self.moment_sampling, selective=self.selective, cues=self.cues,
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class TrainingModule(nn.Module):
    """The network, the dense head and the losses of one stage behind a single ``forward``.

    Args:
        stage: ``dense`` (image encoder and head alone), ``image`` or ``video``.
    """

    def __init__(self, model: TGL, stage: str, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.config = config
        self.head = DenseHead(model.vision.dim, ATTRIBUTES) if config.dense_weight > 0 else None
        model.set_stage(stage)

    def forward(
        self, batch: ClipBatch, remember: bool = False
    ) -> tuple[dict[str, Tensor], TGLOutput | None]:
        """
        Args:
            batch: B clips of T frames.
            remember: write memory from the true masks.

        Returns:
            Scalar losses (``loss`` is what is minimised), and the network's output (None in the
            dense stage).
        """
        if self.stage == "dense":
            prefix = self.model.encode_prefix(batch.frames.flatten(0, 1))
            return self._dense(self.model.extract_plain(prefix), batch.labels), None
        output = self.model(
            batch.frames, batch.texts, batch.relevant, batch.positions,
            batch.target if remember else None,
        )
        config = self.config
        losses = tgl_loss(
            output.masks, output.presence, output.relevance, batch.target, batch.relevant,
            dice=config.dice_weight, focal=config.focal_weight, tam=config.tam_weight,
            present=config.presence_weight,
        )
        if self.head is not None:
            dense = self._dense(output.adapted.features, batch.labels)
            losses["loss"] = losses["loss"] + config.dense_weight * dense.pop("loss")
            losses.update({f"dense/{name}": value for name, value in dense.items()})
        return losses, output

    def _dense(self, features, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.head(features)
        if self.stage != "video":
            logits.pop("motion")  # one frame shows no motion
        return dense_loss(logits, {name: labels[name].flatten(0, 1) for name in logits})


@torch.no_grad()
def clip_scores(output: TGLOutput, batch: ClipBatch) -> list[dict[str, float | str]]:
    """Per clip: its cue, IoU over all its pixels, and whether the TAM's best frame lies in M+."""
    size = batch.target.shape[-2:]
    masks = nn.functional.interpolate(output.masks, size=size, mode="bilinear") > 0
    scores = []
    for b, cue in enumerate(batch.cues):
        overlap = (masks[b] & batch.target[b]).sum().item()
        union = (masks[b] | batch.target[b]).sum().item()
        row: dict[str, float | str] = {"cue": cue, "iou": overlap / union if union else 1.0}
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

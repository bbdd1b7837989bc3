"""What ``train.py`` is told: one stage of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from tgl_e2e.config import from_dict, read_preset
from tgl_e2e.errors import InputError
from tgl_e2e.model.trained import STAGES as STAGES  # one list for both, nothing heavy behind it


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
    remember_target: float = _value(0.0, "share of clips whose memory is written from true masks")
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

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def describe(config: type, prefix: str = "") -> list[str]:
    """Lines for ``--help``: each value of a configuration with its default and meaning."""
    lines = []
    for item in dataclasses.fields(config):
        factory = item.default_factory
        if factory is not dataclasses.MISSING and dataclasses.is_dataclass(factory):
            lines += describe(factory, f"{prefix}{item.name}.")
            continue
        default = item.default if factory is dataclasses.MISSING else factory()
        lines.append(f"  {prefix}{item.name} ({default})  {item.metadata.get('help', '')}".rstrip())
    return lines

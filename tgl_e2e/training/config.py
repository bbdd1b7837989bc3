"""What ``train.py`` is told: one stage of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from tgl_e2e.config import from_dict, read_preset
from tgl_e2e.config.values import setting
from tgl_e2e.errors import InputError

EARLIER_STAGES = "stages"  # in the folder of a recipe's run: its stages but the last
SCHEDULES = ("cosine", "linear", "constant")

_LIMITS = {
    "at least 1": (
        lambda x: x >= 1,
        "batch_size accumulation num_frames eval_every eval_clips save_every",
    ),
    "at least 0": (
        lambda x: x >= 0,
        "steps distinct clips_per_expression seed workers warmup weight_decay dice_weight "
        "focal_weight tam_weight presence_weight dense_weight similarity_weight "
        "attention_weight",
    ),
    "greater than 0": (lambda x: x > 0, "lr sam_lr_factor clip_norm epochs"),
    "a share, from 0 to 1": (
        lambda x: 0 <= x <= 1,
        "flip photometric scale full_share medium_share uniform_share no_target_share "
        "foreign_share appearance_share aspect_share compress_share clutter_share remember_target "
        "focal_alpha",
    ),
    "from 0 to less than 1": (lambda x: 0 <= x < 1, "beta2"),
}


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training. Every value can be overridden on the command line: ``lr=1e-4``."""

    dataset: str = setting(
        "motion",
        "motion, scenes, coco, mevis, ref-youtube-vos, ref-davis, refcoco, refcoco+, refcocog; "
        "several joined by commas",
    )
    root: str = setting(
        "",
        "folder of the data set; of several one for all, or one each, joined by commas; empty: "
        "motion is rendered on the fly",
    )
    shares: str = setting("", "of several datasets, the share of clips from each, joined by commas")
    split: str = setting("train", "split to train on, of every data set; or one each")
    valid_split: str = setting("valid_u", "split to validate on, or one each; empty: no validation")
    steps: int = setting(0, "optimizer steps; 0: as many as `epochs` take")
    epochs: float = setting(1.0, "passes over the expressions, where steps is 0")
    clips_per_expression: int = setting(
        0, "clips of each expression in an epoch; 0: as many as num_frames go into its video"
    )
    skip_bad_expressions: bool = setting(False, "leave out and count empty or too long expressions")
    batch_size: int = setting(4, "clips per optimizer step, over all processes and accumulation")
    distinct: int = setting(
        0,
        "stage moments: so many clips, a multiple of batch_size, that come again and again, and of "
        "which the frozen network is run once; 0: every clip is new",
    )
    accumulation: int = setting(1, "backward passes per optimizer step")
    num_frames: int = setting(8, "T, frames of a clip; 1 in the stages dense, nouns and image")
    static: bool = setting(False, "scenes in which nothing moves (stages of single frames)")
    lr: float = setting(1e-4, "learning rate after warm-up")
    sam_lr_factor: float = setting(1.0, "rate of vision.sam.* over lr; 0.1 where it is pretrained")
    schedule: str = setting("cosine", "after warm-up: cosine (to 2 %), linear (to 0) or constant")
    warmup: int = setting(100, "steps of linear warm-up")
    weight_decay: float = setting(0.01, "AdamW's weight decay; at 0 it is Adam")
    beta2: float = setting(0.98, "AdamW's second beta")
    clip_norm: float = setting(1.0, "gradients are clipped to this norm")
    seed: int = setting(0, "of weights and samples")
    afresh: str = setting(
        "",
        "modules of --init that begin from random weights all the same: parts of parameters' "
        "names, joined by commas (tam,temporal)",
    )
    workers: int = setting(1, "loader processes, per training process")
    full_share: float = setting(0.0, "share of rendered clips at level full")
    medium_share: float = setting(0.0, "share of rendered clips at level medium; the rest is easy")
    uniform_share: float = setting(0.0, "share of clips whose frames are dealt as in inference")
    no_target_share: float = setting(
        0.0,
        "share of rendered clips and photographs whose sentence means nothing in them, beside "
        "those that the generator's mixture has anyway",
    )
    appearance_share: float = setting(
        0.0, "share of the other rendered clips that are asked for by looks alone, whatever moves"
    )
    aspect_share: float = setting(
        0.0,
        "share of rendered clips in the shape of a video, up to 16:9, squeezed to the network's "
        "square",
    )
    compress_share: float = setting(0.0, "share of rendered clips that have been through a codec")
    clutter_share: float = setting(0.0, "share of rendered clips before a cluttered background")
    moment_sampling: bool = setting(True, "half of a clip comes from M+ (ablation: any frames)")
    even_spacing: bool = setting(
        True,
        "the frames of a clip lie evenly apart; false: drawn one by one, so that those from M+ "
        "crowd and give it away",
    )
    selective: bool = setting(True, "OSS: only objects whose moment is in the clip are supervised")
    flip: float = setting(
        0.0,
        "share of recorded clips mirrored, left and right swapped in the text; never where that "
        "would be unsafe",
    )
    foreign_share: float = setting(
        0.0, "share of recorded clips asked for what another video shows, in vain"
    )
    photometric: float = setting(0.0, "share of clips changed in brightness and colour")
    scale: float = setting(0.0, "share of recorded clips scaled")
    remember_target: float = setting(0.0, "share of clips whose memory is written from true masks")
    cues: dict[str, float] = field(
        default_factory=lambda: {"mixed": 1.0},
        metadata={"help": "share of scenes built so that this cue is needed; mixed: no control"},
    )
    dice_weight: float = setting(1.0, "lambda_dice")
    dice_per_frame: bool = setting(False, "dice frame by frame, not over the pixels of a clip")
    focal_weight: float = setting(1.0, "lambda_foc")
    focal_alpha: float = setting(
        0.25, "focal weight of target pixels; below 0.5 masks of what is unsure come out empty"
    )
    tam_weight: float = setting(1.0, "lambda_tam")
    presence_weight: float = setting(0.1, "weight of SAM2's object-presence BCE")
    dense_weight: float = setting(0.0, "weight of per-pixel classification (training from scratch)")
    similarity_weight: float = setting(
        0.0, "weight of the learned prior's BCE: where what the expression means is seen"
    )
    attention_weight: float = setting(
        0.0,
        "weight of -log of the share of the TAM's attention that lies on the target, where it is "
        "seen (tam.pooling text or place)",
    )
    checkpointing: bool = setting(
        False,
        "recompute activations of trunk and memory attention in the backward pass: less memory, "
        "about a third more time",
    )
    tracker: str = setting("tensorboard", "any tracker of Accelerate by its name; none: files only")
    eval_every: int = setting(250, "steps between validations and sample pictures")
    eval_clips: int = setting(96, "clips per validation")
    best: str = setting(
        "iou", "figure of the validation by which best/ is kept (stage dense: its lowest loss)"
    )
    save_every: int = setting(250, "steps between resumable checkpoints")

    def __post_init__(self) -> None:
        for words, (right, names) in _LIMITS.items():
            for name in names.split():
                if not right(getattr(self, name)):
                    raise InputError(f"{name} is {getattr(self, name)}; it must be {words}")
        if self.distinct % self.batch_size:
            raise InputError(f"distinct {self.distinct} must be a multiple of {self.batch_size}")
        full, medium = self.full_share, self.medium_share
        if full + medium > 1:
            raise InputError(f"full_share {full}, medium_share {medium}: together more than 1")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is {self.schedule!r}; use {', '.join(SCHEDULES)}")

    @classmethod
    def from_preset(cls, name: str, stage: str) -> TrainConfig:
        stages = read_preset(name).get("train", {})
        if stage not in stages:
            raise InputError(f"preset {name!r} has no stage {stage!r}; it has {', '.join(stages)}")
        return from_dict(cls, stages[stage], f"train.{stage}")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

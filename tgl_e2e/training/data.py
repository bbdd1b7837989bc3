"""Which clips a stage trains on, and which it is validated with."""

from __future__ import annotations

import logging
from pathlib import Path

from torch.utils.data import Dataset

from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.datasets import DATASETS, read_dataset
from tgl_e2e.data.motion import MotionClips
from tgl_e2e.data.recorded import RecordedClips
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig

LOGGER = logging.getLogger(__name__)
VALIDATION_SEED = 1000


def training_clips(config: TrainConfig, options: ClipOptions) -> tuple[Dataset, int]:
    """The clips of a whole stage, in order, and its number of steps.

    Raises:
        InputError: a data set that is unknown or not there, or no way to tell how many steps.
    """
    if config.dataset == "motion" and not config.root:
        if config.steps < 1:
            raise InputError("steps is 0, and motion has no end: give steps=N")
        return MotionClips(options, config.steps * config.batch_size, config.seed), config.steps
    clips = _recorded(config, config.split, options, 0, config.seed)
    if config.dense_weight > 0:
        raise InputError(
            "dense_weight needs the labels that only dataset=motion has, rendered on "
            "the fly; set dense_weight=0"
        )
    steps = config.steps or max(1, round(config.epochs * clips.num_expressions / config.batch_size))
    clips.length = steps * config.batch_size
    return clips, steps


def validation_clips(config: TrainConfig, options: ClipOptions) -> Dataset | None:
    """Always the same clips, whatever the training mix: figures of runs can be compared."""
    if not config.valid_split:
        return None
    fills = "fill" in options.cues  # which exist at level full alone
    plain = ClipOptions(
        options.num_frames,
        options.block,
        options.size,
        static=options.static,
        cues=options.cues,
        full_share=1.0 if fills else 0.35,
        medium_share=0.0 if fills else 0.35,
    )
    if config.dataset == "motion" and not config.root:
        return MotionClips(plain, config.eval_clips, VALIDATION_SEED, config.valid_split)
    try:
        return _recorded(config, config.valid_split, plain, config.eval_clips, VALIDATION_SEED)
    except InputError as error:
        raise InputError(f"{error} (to validate on; valid_split= leaves validation out)") from None


def _recorded(
    config: TrainConfig, split: str, options: ClipOptions, length: int, seed: int
) -> RecordedClips:
    names = [name.strip() for name in config.dataset.split(",")]
    if not config.root and set(names) <= set(DATASETS):
        raise InputError(f"dataset={config.dataset} needs root=FOLDER, where it lies")
    roots = [root.strip() for root in config.root.split(",")] if len(names) > 1 else [config.root]
    if len(roots) == 1:
        roots *= len(names)
    elif len(roots) != len(names):
        raise InputError(
            f"root={config.root}: {len(roots)} folders for {len(names)} data sets; "
            "give one for all, or one each"
        )
    datasets = [
        read_dataset(name, Path(root), split) for name, root in zip(names, roots, strict=True)
    ]
    return RecordedClips(datasets, options, length, seed)

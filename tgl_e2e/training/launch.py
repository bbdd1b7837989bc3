"""What is settled before the first step of a training: Accelerate, its tracker, the batch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from PIL import Image
from torch.distributed.fsdp import MixedPrecisionPolicy

from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig


def accelerator_for(config: TrainConfig, precision: str | None, output: Path) -> Accelerator:
    """Accelerate as the launcher has set it up.

    Args:
        precision: no, bf16 or fp16; None: the launcher's.
        output: the folder of the run, for trackers that write files.

    Raises:
        InputError: the tracker is not known or not installed.
    """
    return Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=config.accumulation,
        log_with=_tracker(config.tracker),
        project_dir=str(output),
        fsdp_plugin=_sharding(),
    )


def divide_batch(config: TrainConfig, processes: int) -> int:
    """Clips of one forward pass, so that the effective batch is what was asked for."""
    share = processes * config.accumulation
    if config.batch_size % share == 0:
        return config.batch_size // share
    divisors = range(1, config.batch_size + 1)
    values = [str(n) for n in divisors if config.batch_size % (processes * n) == 0]
    works = f"with {processes} processes accumulation={', '.join(values)} works, or"
    raise InputError(
        f"batch_size {config.batch_size} cannot be divided by {processes} processes x "
        f"{config.accumulation} accumulation; {works if values else 'use'} a batch_size that is a "
        f"multiple of {share}"
    )


def _sharding() -> FullyShardedDataParallelPlugin | None:
    """FSDP as Accelerate is configured for it, its parameters gathered in float32: as without it,
    autocast alone says what is computed in 16 bits (where both do, CPUs have no layer norm)."""
    environment = os.environ
    if environment.get("ACCELERATE_USE_FSDP") != "true" or environment.get("FSDP_VERSION") != "2":
        return None
    return FullyShardedDataParallelPlugin(mixed_precision_policy=MixedPrecisionPolicy())


def _tracker(name: str) -> list[str] | None:
    """The tracker for Accelerate; InputError if it is not known or not installed."""
    if name == "none":
        return None
    known = [str(tracker) for tracker in LOGGER_TYPE_TO_CLASS]
    if name not in known:
        raise InputError(f"tracker {name!r} is not known; use none or {', '.join(known)}")
    if name not in [str(getattr(t, "value", t)) for t in get_available_trackers()]:
        raise InputError(f"tracker {name!r} is not installed; pip install it, or use tracker=none")
    return [name]


def show_picture(accelerator: Accelerator, picture: Path, step: int) -> None:
    """A validation picture, for trackers that take images."""
    if not accelerator.is_main_process or not picture.is_file():
        return
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_images"):
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images(
                {"samples": np.asarray(Image.open(picture))[None]}, step=step, **layout
            )

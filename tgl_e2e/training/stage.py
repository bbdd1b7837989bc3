"""One stage of a training, set up: network, data, optimizer, and where in its folder it stands."""

from __future__ import annotations

import json
import logging
import math
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import set_seed
from PIL import Image
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.utils.data import DataLoader

from tgl_e2e.data.clips import collate
from tgl_e2e.errors import InputError
from tgl_e2e.training.arguments import Leg
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.data import training_clips, validation_clips
from tgl_e2e.training.module import TrainingModule, build_model, clip_options
from tgl_e2e.training.run_folder import RunFolder, flat, progress_in
from tgl_e2e.training.stopping import DATA_PATIENCE, StopSignal, anywhere, leave_signals_to_main
from tgl_e2e.training.validation import Validation

LOGGER = logging.getLogger(__name__)
# Values that a resumed run may change. All but steps leave alone what is learned; steps makes a run
# longer or shorter, and its learning rate follows from there on.
FREE = {"steps", "epochs", "accumulation", "root", "workers", "tracker", "best", "checkpointing"}
FREE |= {"eval_every", "eval_clips", "save_every"}


class Stage:
    """
    steps: of the whole stage; last: those that this run is to reach; done: those that are behind
    it; saved: those that the saved state has; best: the best figure of a validation so far.

    Args:
        leg: what the stage starts from, where it writes, and its values.
        arguments: of the command line.
    """

    def __init__(self, leg: Leg, arguments: Namespace) -> None:
        self.leg, self.config = leg, leg.train
        self.accelerator = Accelerator(
            mixed_precision=arguments.mixed_precision,  # None: as the launcher has set it up
            gradient_accumulation_steps=self.config.accumulation,
            log_with=_tracker(self.config.tracker),
            project_dir=str(leg.output),  # for trackers that write files
            fsdp_plugin=_sharding(),
        )
        self.micro_batch = divide_batch(self.config, self.accelerator.num_processes)
        self.resolved = self._resolved()
        self.folder = RunFolder(leg.output, self.accelerator)
        begun = (leg.output / "run.json").is_file()  # a stage of a recipe may not have
        if arguments.resume and begun:
            self.folder.check_same(self.resolved, FREE)
        self._set_up()
        self.folder.open(resume=arguments.resume)
        progress = self.folder.load_state() if arguments.resume else None
        progress = progress or {"step": 0, "best": -math.inf}  # may be killed before the first
        self.done, self.best = progress["step"], progress["best"]
        self.saved = self.done
        self.last = min(self.steps, arguments.max_steps or self.steps)
        # A validation may have been due there in the middle of which the run was stopped.
        logged = self.folder.logged("valid.jsonl", self.done)
        self.unchecked = self.done > 0 and not anywhere(logged)

    def _resolved(self) -> dict[str, Any]:
        leg = self.leg
        begun_from = None if leg.init is None else progress_in(leg.init)
        return {
            "stage": leg.stage,
            "precision": self.accelerator.mixed_precision,
            # relative, so that a run may be moved with all its stages
            "init": None if leg.init is None else os.path.relpath(leg.init, leg.output),
            "init_step": begun_from and begun_from["step"],
            "train": self.config.to_dict(),
            "model": leg.model.to_dict(),
        }

    def _set_up(self) -> None:
        """Network, clips and optimizer."""
        leg, config = self.leg, self.config
        set_seed(config.seed)  # the same weights on every process
        module = TrainingModule(build_model(leg.model, leg.init, config.afresh), leg.stage, config)
        if leg.init is not None:
            module.load_head(leg.init)
        elif leg.stage == "video":
            LOGGER.warning("no --init: the paper starts this stage from the image stage's network")
        if leg.stage == "video" and config.num_frames != leg.model.window:
            LOGGER.warning(
                f"num_frames {config.num_frames} differs from model.window {leg.model.window}, "
                "which inference will use"
            )
        options = clip_options(config, leg.model, module.model.vision.fill)

        def check(expression: str) -> None:
            module.model.text.check([expression])

        self.clips, self.steps = training_clips(config, options, check)
        fixed = validation_clips(config, options, check)
        self.validation = None
        if fixed is not None:
            self.validation = Validation(fixed, self.micro_batch, self.accelerator)
        groups, betas = module.parameter_groups(), (0.9, config.beta2)
        optimizer = torch.optim.AdamW(
            groups, betas=betas, weight_decay=config.weight_decay, foreach=True
        )
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        # Not before prepare, which may put shards in the parameters' place.
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do; the last validation may be."""
        due = self.unchecked and self.validation is not None and self.done == self.last
        return self.done >= self.last and not due

    def begin(self) -> DataLoader:
        """Opens the log and the trackers; the clips that are still to come, in batches."""
        config, accelerator = self.config, self.accelerator
        self.folder.cut_log(self.done)
        self.folder.write_configuration(self.resolved)
        with self.folder.writing():
            accelerator.init_trackers("tgl_e2e", config=flat(self.resolved))
        loader = DataLoader(
            # From the first clip that is still to come: each is made from its number alone.
            self.clips,
            sampler=range(self.done * config.batch_size, self.last * config.batch_size),
            batch_size=self.micro_batch,
            num_workers=config.workers,
            collate_fn=collate,
            worker_init_fn=leave_signals_to_main,
            timeout=DATA_PATIENCE if config.workers else 0,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # its own: the network's stays as it is
        )
        trained = sum(p.numel() for p in self.trained)
        LOGGER.info(
            f"{self.leg.stage}: {trained} trained parameters, steps {self.done} to {self.last} of "
            f"{self.steps}, {config.batch_size} clips x {config.num_frames} frames "
            f"({self.micro_batch} at once on each of {accelerator.num_processes} processes), "
            f"{accelerator.mixed_precision} on {accelerator.device}"
        )
        return accelerator.prepare_data_loader(loader)

    def validate(self, stop: StopSignal) -> bool:
        """Validates if it is due; False if a stop came in between."""
        step, accelerator = self.done, self.accelerator
        due = step % self.config.eval_every == 0 or step == self.last
        if self.validation is None or not due:
            return True
        picture = self.leg.output / "samples" / f"{step:06d}.png"
        shown = picture if accelerator.is_main_process else None
        report = self.validation.run(self.module, shown, lambda: anywhere(stop.requested))
        if report is None:
            return False
        LOGGER.info("step %d %s", step, json.dumps(report))
        self.folder.append("valid.jsonl", {"step": step, **report})
        with self.folder.writing():
            accelerator.log({f"valid/{name}": v for name, v in report.items()}, step=step)
            show_picture(accelerator, picture, step)
        score = score_of(report, self.config.best, self.leg.stage)
        if score > self.best:
            self.best = score
            self.folder.write_network(self.module, self.resolved, best=True)
        return True

    def save(self) -> None:
        """What --resume goes on from."""
        self.folder.save_state({"step": self.done, "best": self.best})
        self.saved = self.done


def score_of(report: dict[str, float], name: str, stage: str) -> float:
    """What the best network has most of: the figure asked for, or little loss."""
    if name == "loss" or stage in ("dense", "nouns"):
        return -report["loss"]
    if name not in report:
        raise InputError(
            f"best={name}: no figure of the validation; use loss or "
            + ", ".join(key for key in report if key != "loss")
        )
    return report[name]


# --- what is settled before the first step: Accelerate, its tracker, the batch --------------


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

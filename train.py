"""Trains TGL under Accelerate.

    accelerate launch train.py --config tiny
    accelerate launch train.py --config hiera-b --stage video --init runs/image root=data/mevis

Without --stage every stage of the preset's recipe runs, each from the network of the one before.
Values of a stage are overridden as KEY=VALUE or --KEY VALUE (lr=1e-4, --batch_size 8), values of
the network with the prefix "model." (model.memory.bank=all). --output then holds the network as
save_pretrained writes it, log.jsonl with a line per step, and state/ to go on from with --resume.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import defaultdict

from tgl_e2e import cli
from tgl_e2e.training.stopping import StopSignal, until_stopped

LOGGER = logging.getLogger("train")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for chatty in ("accelerate", "httpx", "torch.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return cli.run("train.py", stages, "the last saved state is kept, and --resume goes on from it")


def stages() -> None:
    """What the command line asks for."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    from tgl_e2e.errors import InputError
    from tgl_e2e.training.arguments import legs, parse_arguments

    arguments = parse_arguments(__doc__)
    stop, run = StopSignal(), legs(arguments)
    if arguments.resume and not any((leg.output / "run.json").is_file() for leg in run):
        raise InputError(
            f"{arguments.output}: no run to resume; start it without --resume in an empty folder"
        )
    with logging_redirect_tqdm():
        for leg in run:
            if not train(leg, arguments, stop):
                break
    from accelerate import PartialState

    PartialState().destroy_process_group()  # not before: the next stage needs it


def train(leg, arguments, stop: StopSignal) -> bool:
    """One stage; whether it came to its end."""
    from tgl_e2e.training.stage import Stage

    if not cli.is_main_process():
        for name in ("train", "tgl_e2e"):
            logging.getLogger(name).setLevel(logging.ERROR)  # once is enough
    stage = Stage(leg, arguments)
    folder = stage.folder
    if stage.finished:
        LOGGER.info("%s: already at step %d of %d", leg.stage, stage.done, stage.last)
        folder.write_network(stage.module, stage.resolved)  # it may have been killed before that
        folder.close()
        return True
    stopping = loop(stage, stop)
    if stage.saved != stage.done:
        stage.save()
    folder.write_network(stage.module, stage.resolved)
    LOGGER.info("network written to %s", leg.output)
    if stage.done < stage.steps or stopping:
        where = f"stopped at step {stage.done} of {stage.steps}"
        LOGGER.info("%s; go on with the same command and --resume", where)
    for tracker in stage.accelerator.trackers:
        tracker.finish()
    folder.close()
    stage.accelerator.free_memory()
    return stage.done >= stage.last and not stopping


def loop(stage, stop: StopSignal) -> bool:
    """The steps that are still to come; whether a stop was asked for."""
    import numpy as np
    import torch
    from tqdm import tqdm

    config, accelerator, module = stage.config, stage.accelerator, stage.module
    loader, alone = stage.begin(), accelerator.num_processes == 1
    micro = stage.done * config.accumulation
    recent: dict[str, list[torch.Tensor]] = defaultdict(list)
    names: list[list[str]] = []  # of the samples of this step, for an error
    module.train()
    begin, waited, asked = time.perf_counter(), 0.0, time.perf_counter()
    hidden, steps = not accelerator.is_local_main_process, {"unit": "step", "desc": stage.leg.stage}
    with tqdm(total=stage.last, initial=stage.done, disable=hidden, mininterval=2, **steps) as bar:
        stopping = False
        if stage.unchecked:
            before = stage.best
            stopping = not stage.validate(stop)
            if stage.best > before:
                stage.save()
        for batch in () if stopping else until_stopped(loader, stop, alone):
            waited += time.perf_counter() - asked
            # Dropout is a pure function of seed, step and process too: a kill changes nothing.
            draw = np.random.SeedSequence([config.seed, micro, accelerator.process_index])
            torch.manual_seed(int(draw.generate_state(1, np.uint64)[0]))
            micro += 1
            names.append(batch.names)
            with accelerator.accumulate(module):
                with accelerator.autocast():
                    losses, _ = module(batch)
                accelerator.backward(losses["loss"])
                for name, value in losses.items():
                    recent[name].append(value.detach().float())
                if not accelerator.sync_gradients:
                    asked = time.perf_counter()
                    continue
                row, stopping = step(stage, recent, names, stop)
                recent.clear()
                names.clear()
            stage.done += 1
            seconds = time.perf_counter() - begin
            row |= {
                "lr": stage.optimizer.param_groups[0]["lr"],
                "steps/s": round(1 / seconds, 4),
                "samples/s": round(config.batch_size / seconds, 3),
                "data_wait": round(waited / seconds, 4),
            }
            if accelerator.device.type == "cuda":
                row["gpu_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            stage.folder.append("log.jsonl", {"step": stage.done, **row})
            with stage.folder.writing():
                accelerator.log(row, step=stage.done)
            bar.update()
            bar.set_postfix_str(shown(row), refresh=False)
            stopping = stopping or not stage.validate(stop)
            if stage.done % config.save_every == 0 or stage.done == stage.last:
                stage.save()
            if stopping:
                break
            begin = asked = time.perf_counter()
            waited = 0.0
    return stopping


def step(stage, recent, names, stop: StopSignal) -> tuple[dict[str, float], bool]:
    """One step of the optimizer: means of the losses and the gradient's norm, and whether any
    process shall stop."""
    accelerator, optimizer = stage.accelerator, stage.optimizer
    norm = accelerator.clip_grad_norm_(stage.trained, stage.config.clip_norm)
    row, stopping = agree(accelerator, recent, norm, stop)
    # Under fp16 an infinite gradient is how the scaler finds its scale.
    if not math.isfinite(row["loss"] + (row["grad_norm"] if accelerator.scaler is None else 0.0)):
        raise not_finite(accelerator, row, stage.done + 1, recent["loss"], names)
    for group, lr in zip(optimizer.param_groups, stage.rates, strict=True):
        group["lr"] = lr * rate(stage.config, stage.done, stage.steps)
    optimizer.step()
    optimizer.zero_grad()
    return row, stopping


def agree(accelerator, recent, norm, stop: StopSignal) -> tuple[dict[str, float], bool]:
    """Means of the losses over accumulation and processes, and whether any process shall stop; in
    one exchange, and the same on every process."""
    import torch

    names = list(recent)
    asked = torch.tensor(float(stop.requested), device=accelerator.device)
    values = torch.stack([*(torch.stack(recent[name]).mean() for name in names), asked])
    *means, stopping = accelerator.reduce(values, "mean").tolist()
    norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
    return {**dict(zip(names, means, strict=True)), "grad_norm": norm}, stopping > 0


def not_finite(accelerator, row, step: int, losses, names: list[list[str]]) -> Exception:
    """The error that says which samples a run broke on; the same on every process."""
    from accelerate.utils import gather_object

    from tgl_e2e.errors import InputError

    groups = zip(losses, names, strict=True)
    broken = [name for loss, group in groups if not loss.isfinite() for name in group]
    found = gather_object(broken) or gather_object([name for group in names for name in group])
    return InputError(
        f"the loss is {row['loss']} and the norm of its gradient {row['grad_norm']} at step "
        f"{step}; its samples: {'; '.join(found)}. Look at them, lower lr or use "
        "--mixed-precision no; the last saved state is kept, and --resume goes on from it"
    )


def rate(config, step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then the schedule."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = min(1.0, (step - config.warmup) / max(1, steps - config.warmup))
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return 1.0 - progress
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def shown(row: dict[str, float]) -> str:
    """What stands at the end of the progress bar."""
    parts = [f"{name} {row[name]:.3g}" for name in ("loss", "dice", "focal", "tam") if name in row]
    parts += [f"lr {row['lr']:.1e}", f"wait {row['data_wait']:.0%}"]
    if "gpu_gb" in row:
        parts.append(f"{row['gpu_gb']:.1f} GB")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())

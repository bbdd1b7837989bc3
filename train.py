"""Trains TGL under Accelerate.

    accelerate launch train.py --config tiny
    accelerate launch train.py --config hiera-b --stage video --init runs/image root=data/mevis

Without --stage every stage of the preset's recipe runs, each from the network of the one before.
Values of a stage are overridden as KEY=VALUE or --KEY VALUE (lr=1e-4, --batch_size 8), values of
the network with the prefix "model." (model.memory.bank=all). --output then holds the network as
save_pretrained writes it, log.jsonl with a line per step, and state/ to go on from with --resume.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections import defaultdict

from tgl_e2e.training.stopping import (
    DATA_PATIENCE,
    StopSignal,
    anywhere,
    leave_signals_to_main,
    until_stopped,
)

LOGGER = logging.getLogger("train")
# Values that a resumed run may change. All but steps leave alone what is learned; steps makes a run
# longer or shorter, and its learning rate follows from there on.
FREE = {
    "steps",
    "epochs",
    "accumulation",
    "root",
    "workers",
    "eval_every",
    "eval_clips",
    "save_every",
    "tracker",
    "best",
    "checkpointing",
}


def main() -> int:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from tgl_e2e.errors import InputError
    from tgl_e2e.training.arguments import legs, parse_arguments

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for chatty in ("accelerate", "httpx", "torch.distributed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        arguments = parse_arguments(__doc__)
        stop, run = StopSignal(), legs(arguments)
        if arguments.resume and not any((leg.output / "run.json").is_file() for leg in run):
            raise InputError(
                f"{arguments.output}: no run to resume; start it without --resume in "
                "an empty folder"
            )
        for leg in run:
            with logging_redirect_tqdm():
                if not train(leg, arguments, stop):
                    break
        from accelerate import PartialState

        PartialState().destroy_process_group()  # not before: the next stage needs it
    except InputError as error:
        # One from a loader's worker comes with the worker's traceback in front.
        line = str(error).strip().splitlines()[-1].removeprefix("tgl_e2e.errors.InputError: ")
        print(f"train.py: error: {line}", file=sys.stderr)
        return 2
    return 0


def train(leg, arguments, stop: StopSignal) -> bool:
    """One stage; whether it came to its end."""
    import numpy as np
    import torch
    from accelerate.utils import set_seed
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from tgl_e2e.data.clips import collate
    from tgl_e2e.training.data import training_clips, validation_clips
    from tgl_e2e.training.launch import accelerator_for, divide_batch, show_picture
    from tgl_e2e.training.module import TrainingModule, build_model, clip_options
    from tgl_e2e.training.run_folder import RunFolder, flat, progress_in
    from tgl_e2e.training.validation import Validation

    config = leg.train
    if os.environ.get("RANK", "0") != "0":
        for name in ("train", "tgl_e2e"):
            logging.getLogger(name).setLevel(logging.ERROR)  # once is enough
    accelerator = accelerator_for(config, arguments.mixed_precision, leg.output)
    micro_batch = divide_batch(config, accelerator.num_processes)
    begun_from = None if leg.init is None else progress_in(leg.init)
    resolved = {
        "stage": leg.stage,
        "precision": accelerator.mixed_precision,
        # relative, so that a run may be moved with all its stages
        "init": None if leg.init is None else os.path.relpath(leg.init, leg.output),
        "init_step": begun_from and begun_from["step"],
        "train": config.to_dict(),
        "model": leg.model.to_dict(),
    }
    folder = RunFolder(leg.output, accelerator)
    if arguments.resume and folder.configured:  # a stage of a recipe may not have begun
        folder.check_same(resolved, FREE)

    # --- network and data ----------------------------------------------------------------------
    set_seed(config.seed)  # the same weights on every process
    module = TrainingModule(build_model(leg.model, leg.init, config.afresh), leg.stage, config)
    if leg.init is not None:
        module.load_head(leg.init)
    elif leg.stage == "video":
        LOGGER.warning("no --init: the paper starts this stage from the image stage's network")
    if leg.stage == "video" and config.num_frames != leg.model.window:
        LOGGER.warning(
            "num_frames %d differs from model.window %d, which inference will use",
            config.num_frames,
            leg.model.window,
        )
    options = clip_options(config, leg.model.vision.image_size, leg.model.block)
    encoder = module.model.text

    def check(text: str) -> None:
        encoder.check([text])

    clips, steps = training_clips(config, options, check)
    fixed = validation_clips(config, options, check)
    validation = None if fixed is None else Validation(fixed, micro_batch, accelerator)
    optimizer = torch.optim.AdamW(
        module.parameter_groups(),
        weight_decay=config.weight_decay,
        betas=(0.9, config.beta2),
        foreach=True,
    )
    module, optimizer = accelerator.prepare(module, optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    # Not before prepare, which may put shards in the parameters' place.
    trained = [p for group in optimizer.param_groups for p in group["params"]]

    # --- where to begin ------------------------------------------------------------------------
    folder.open(resume=arguments.resume)
    done, best = 0, -math.inf
    if arguments.resume and folder.progress is not None:  # else killed before the first state
        progress = folder.load_state()
        done, best = progress["step"], progress["best"]
    last = min(steps, arguments.max_steps or steps)
    # A validation may have been due there in the middle of which the run was stopped.
    unchecked = done > 0 and not anywhere(accelerator, folder.logged("valid.jsonl", done))
    if done >= last and not (unchecked and validation is not None and done == last):
        LOGGER.info("%s: already at step %d of %d", leg.stage, done, last)
        folder.write_network(module, resolved)  # the run may have been killed just before that
        folder.close()
        return True
    folder.cut_log(done)
    folder.write_configuration(resolved)
    with folder.writing():
        accelerator.init_trackers("tgl_e2e", config=flat(resolved))
    loader = DataLoader(
        # From the first clip that is still to come: each is made from its number alone.
        clips,
        sampler=range(done * config.batch_size, last * config.batch_size),
        batch_size=micro_batch,
        num_workers=config.workers,
        collate_fn=collate,
        worker_init_fn=leave_signals_to_main,
        timeout=DATA_PATIENCE if config.workers else 0,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),  # its own: the network's stays as it is
    )
    loader = accelerator.prepare_data_loader(loader)
    LOGGER.info(
        "%s: %d trained parameters, steps %d to %d of %d, %d clips x %d frames (%d at once "
        "on each of %d processes), %s on %s",
        leg.stage,
        sum(p.numel() for p in trained),
        done,
        last,
        steps,
        config.batch_size,
        config.num_frames,
        micro_batch,
        accelerator.num_processes,
        accelerator.mixed_precision,
        accelerator.device,
    )

    def validate(step: int) -> bool:
        """Validates if it is due; whether the training may go on."""
        nonlocal best
        due = step % config.eval_every == 0 or step == last
        if validation is None or not due:
            return True
        picture = leg.output / "samples" / f"{step:06d}.png"
        report = validation.run(
            module,
            picture if accelerator.is_main_process else None,
            lambda: anywhere(accelerator, stop.requested),
        )
        if report is None:
            return False
        LOGGER.info("step %d %s", step, json.dumps(report))
        folder.append("valid.jsonl", {"step": step, **report})
        with folder.writing():
            accelerator.log({f"valid/{name}": v for name, v in report.items()}, step=step)
            show_picture(accelerator, picture, step)
        score = score_of(report, config.best, leg.stage)
        if score > best:
            best = score
            folder.write_network(module, resolved, best=True)
        return True

    # --- the loop ------------------------------------------------------------------------------
    micro = done * config.accumulation
    recent: dict[str, list[torch.Tensor]] = defaultdict(list)
    names: list[list[str]] = []  # of the samples of this step, for an error
    module.train()
    begin, waited, asked = time.perf_counter(), 0.0, time.perf_counter()
    bar = tqdm(
        total=last,
        initial=done,
        disable=not accelerator.is_local_main_process,
        mininterval=2,
        desc=leg.stage,
        unit="step",
    )
    stopping, saved, alone = False, done, accelerator.num_processes == 1
    with bar:
        if unchecked:
            before = best
            stopping = not validate(done)
            if best > before:
                folder.save_state({"step": done, "best": best})
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
                norm = accelerator.clip_grad_norm_(trained, config.clip_norm)
                row, stopping = agree(accelerator, recent, norm, stop)
                # Under fp16 an infinite gradient is how the scaler finds its scale.
                if not math.isfinite(
                    row["loss"] + (row["grad_norm"] if accelerator.scaler is None else 0.0)
                ):
                    raise not_finite(accelerator, row, done + 1, recent["loss"], names)
                recent.clear()
                names.clear()
                for group, lr in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = lr * rate(config, done, steps)
                optimizer.step()
                optimizer.zero_grad()
            done += 1
            now = time.perf_counter()
            row |= {
                "lr": optimizer.param_groups[0]["lr"],
                "steps/s": round(1 / (now - begin), 4),
                "samples/s": round(config.batch_size / (now - begin), 3),
                "data_wait": round(waited / (now - begin), 4),
            }
            if accelerator.device.type == "cuda":
                row["gpu_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            folder.append("log.jsonl", {"step": done, **row})
            with folder.writing():
                accelerator.log(row, step=done)
            bar.update()
            bar.set_postfix_str(shown(row), refresh=False)
            stopping = stopping or not validate(done)
            if done % config.save_every == 0 or done == last:
                folder.save_state({"step": done, "best": best})
                saved = done
            if stopping:
                break
            begin = asked = time.perf_counter()
            waited = 0.0
    if saved != done:
        folder.save_state({"step": done, "best": best})
    folder.write_network(module, resolved)
    LOGGER.info("network written to %s", leg.output)
    if done < steps or stopping:
        LOGGER.info(
            "stopped at step %d of %d; go on with the same command and --resume", done, steps
        )
    for tracker in accelerator.trackers:
        tracker.finish()
    folder.close()
    accelerator.free_memory()
    return done >= last and not stopping


# --- parts of the loop ---------------------------------------------------------------------------


def agree(accelerator, recent, norm, stop: StopSignal) -> tuple[dict[str, float], bool]:
    """Means of the losses over accumulation and processes, and whether any process shall stop; in
    one exchange, and the same on every process."""
    import torch

    names = list(recent)
    values = torch.stack(
        [torch.stack(recent[name]).mean() for name in names]
        + [torch.tensor(float(stop.requested), device=accelerator.device)]
    )
    *means, stopping = accelerator.reduce(values, "mean").tolist()
    norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
    return {**dict(zip(names, means, strict=True)), "grad_norm": norm}, stopping > 0


def not_finite(accelerator, row, step: int, losses, names: list[list[str]]) -> Exception:
    """The error that says which samples a run broke on; the same on every process."""
    from accelerate.utils import gather_object

    from tgl_e2e.errors import InputError

    broken = [
        name
        for loss, group in zip(losses, names, strict=True)
        if not loss.isfinite()
        for name in group
    ]
    found = gather_object(broken) or gather_object([name for group in names for name in group])
    return InputError(
        f"the loss is {row['loss']} and the norm of its gradient {row['grad_norm']} at step "
        f"{step}; its samples: {'; '.join(found)}. Look at them, lower lr or use "
        "--mixed-precision no; the last saved state is kept, and --resume goes on from it"
    )


def score_of(report: dict[str, float], name: str, stage: str) -> float:
    """What the best network has most of: the figure asked for, or little loss."""
    from tgl_e2e.errors import InputError

    if name == "loss" or stage == "dense":
        return -report["loss"]
    if name not in report:
        raise InputError(
            f"best={name}: no figure of the validation; use loss or "
            f"{', '.join(key for key in report if key != 'loss')}"
        )
    return report[name]


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

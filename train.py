"""Trains TGL under Accelerate.

    accelerate launch train.py --config tiny --stage dense --output runs/dense
    accelerate launch train.py --config tiny --stage image --init runs/dense --output runs/image
    accelerate launch train.py --config tiny --stage align --init runs/image --output runs/align
    accelerate launch train.py --config tiny --stage video --init runs/align --output runs/video

Values of the stage are overridden as KEY=VALUE (lr=1e-4 batch_size=8), values of the network with
the prefix "model." (model.memory.bank=all). --output then holds the network as save_pretrained
writes it, and state/ to go on from with --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import shutil
import signal
import sys
from collections import defaultdict
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    from tgl_e2e.config import TGLConfig, preset_names
    from tgl_e2e.train_config import STAGES, TrainConfig, describe

    values = ["values of a stage (the preset's come before these defaults):",
              *describe(TrainConfig), "values of the network:", *describe(TGLConfig, "model.")]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="\n".join(values),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help=f"preset: {', '.join(preset_names())}")
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--output", required=True, type=Path, help="folder of this run")
    parser.add_argument("--init", type=Path, help="folder of the run (or network) to start from")
    parser.add_argument("--resume", action="store_true", help="go on from --output's last state")
    parser.add_argument("--mixed-precision", default=None, choices=("no", "bf16", "fp16"),
                        help="default: what accelerate is configured for")
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE", help="overrides")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    from tgl_e2e.errors import InputError

    try:
        train(arguments)
    except InputError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(2)


def train(arguments: argparse.Namespace) -> None:
    import torch
    from accelerate import Accelerator
    from accelerate.utils import set_seed
    from torch.utils.data import DataLoader, Subset
    from tqdm import tqdm

    from tgl_e2e.data.clips import collate
    from tgl_e2e.data.motion import MotionClips
    from tgl_e2e.errors import InputError
    from tgl_e2e.training import TrainingModule, clip_options

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger = logging.getLogger("train")
    config, model_config = resolve_configs(arguments)
    accelerator = Accelerator(
        mixed_precision=arguments.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        log_with="tensorboard", project_dir=str(arguments.output),
    )
    share = accelerator.num_processes * config.accumulation
    if config.batch_size % share:
        raise InputError(f"batch_size {config.batch_size} cannot be divided by {share} "
                         f"(processes x accumulation); use a multiple of {share}")
    state = arguments.output / "state"
    if arguments.output.exists() and any(arguments.output.iterdir()) and not arguments.resume:
        raise InputError(f"{arguments.output} is not empty; give --resume or another --output")
    set_seed(config.seed)  # the same weights on every process
    module = TrainingModule(build_model(arguments, model_config), arguments.stage, config)
    set_seed(config.seed, device_specific=True)  # but not the same dropout
    if arguments.init and module.head is not None and (arguments.init / "dense.pt").is_file():
        module.head.load_state_dict(torch.load(arguments.init / "dense.pt", weights_only=True))

    options = clip_options(config, model_config.vision.image_size, model_config.block)
    clips = MotionClips(options, length=config.steps * config.batch_size, seed=config.seed)
    loader = DataLoader(
        clips, batch_size=config.batch_size // share, num_workers=config.workers,
        collate_fn=collate, persistent_workers=config.workers > 0,
        worker_init_fn=leave_signals_to_main,
    )
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98), foreach=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, config.warmup, config.steps)
    )
    module, optimizer, loader = accelerator.prepare(module, optimizer, loader)
    done = 0
    if arguments.resume:
        check_same_run(arguments, config, model_config)
        if not state.exists() and state.with_name("state.old").exists():
            state = state.with_name("state.old")  # killed between two renames
        if not (state / "progress.json").is_file():
            raise InputError(f"{arguments.output}: no state to resume from; start it without "
                             "--resume in an empty folder")
        accelerator.load_state(str(state))
        progress = json.loads((state / "progress.json").read_text())
        state = arguments.output / "state"
        done = progress["step"]
        schedule.load_state_dict(progress["schedule"])
        loader = accelerator.skip_first_batches(loader, done * config.accumulation)

    arguments.output.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        resolved = {"stage": arguments.stage, "train": config.to_dict(),
                    "model": model_config.to_dict()}
        (arguments.output / "run.json").write_text(json.dumps(resolved, indent=2) + "\n")
        accelerator.init_trackers("tensorboard")
    logger.info("%s: %d trained parameters, %d steps of %d clips x %d frames, %s on %s",
                arguments.stage, sum(p.numel() for p in trained), config.steps,
                config.batch_size, config.num_frames, accelerator.mixed_precision,
                accelerator.device)
    # Always the same clips, of level easy: figures of different runs can be compared.
    plain = dataclasses.replace(options, full_share=0.0)
    validation = Subset(MotionClips(plain, config.eval_clips, seed=1000, split="valid_u"),
                        range(config.eval_clips))
    validation = DataLoader(validation, batch_size=config.batch_size, collate_fn=collate)

    stop = StopSignal()
    bar = tqdm(total=config.steps, initial=done, disable=not accelerator.is_local_main_process,
               mininterval=5, desc=arguments.stage)
    recent: dict[str, list[torch.Tensor]] = defaultdict(list)
    module.train()
    for batch in loader:
        with accelerator.accumulate(module):
            with accelerator.autocast():
                losses, _ = module(batch)
            if not torch.isfinite(losses["loss"]):
                raise InputError(f"the loss is {losses['loss'].item()} at step {done}; the texts "
                                 f"of that batch: {batch.texts}. Lower lr or use --mixed-precision "
                                 "no; the last good state is kept")
            accelerator.backward(losses["loss"])
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(trained, config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        for name, value in losses.items():
            recent[name].append(value.detach())
        if not accelerator.sync_gradients:
            continue
        schedule.step()
        done += 1
        bar.update()
        if done % config.log_every == 0:
            means = {name: torch.stack(v).mean().item() for name, v in recent.items()}
            recent.clear()
            accelerator.log({**means, "lr": schedule.get_last_lr()[0]}, step=done)
            bar.set_postfix_str(f"loss {means['loss']:.3f}")
            append_line(arguments.output / "log.jsonl", {"step": done, **means}, accelerator)
        if done % config.eval_every == 0 or done == config.steps:
            report = validate(accelerator, module, validation, arguments.output, done)
            logger.info("step %d %s", done, json.dumps(report))
            append_line(arguments.output / "log.jsonl", {"step": done, "valid": report},
                        accelerator)
        stopping = stop.agreed(accelerator)
        if done % config.save_every == 0 or done == config.steps or stopping:
            save_state(accelerator, state, done, schedule.state_dict())
        if done == config.steps or stopping:
            break
    bar.close()
    if accelerator.is_main_process:
        bare = accelerator.unwrap_model(module)
        bare.model.save_pretrained(arguments.output)
        if bare.head is not None:
            torch.save(bare.head.state_dict(), arguments.output / "dense.pt")
        logger.info("network written to %s", arguments.output)
    if done < config.steps:
        logger.info("stopped at step %d; go on with the same command and --resume", done)
    accelerator.end_training()


def resolve_configs(arguments: argparse.Namespace):
    """(TrainConfig, TGLConfig) from preset, --init's config.json and KEY=VALUE; the last wins."""
    import yaml
    from omegaconf import OmegaConf

    from tgl_e2e.config import CONFIG_NAME, TGLConfig, from_dict
    from tgl_e2e.errors import InputError
    from tgl_e2e.train_config import TrainConfig

    for value in arguments.values:
        if "=" not in value:
            raise InputError(f"{value!r} is not of the form KEY=VALUE")
    given = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.values))
    changes = [v for v in arguments.values if v.startswith("model.")]
    given.pop("model", None)
    base = TrainConfig.from_preset(arguments.config, arguments.stage).to_dict()
    if "cues" in given:
        base["cues"] = {}
    train_config = from_dict(
        TrainConfig, OmegaConf.to_container(OmegaConf.merge(base, given)), "train")
    model_config = TGLConfig.from_preset(arguments.config)
    if arguments.init and (arguments.init / CONFIG_NAME).is_file():
        model_config = TGLConfig.load(arguments.init)
    for change in changes:
        key, value = change.removeprefix("model.").split("=", 1)
        model_config = model_config.with_values(**{key: yaml.safe_load(value)})
    return train_config, model_config


def check_same_run(arguments: argparse.Namespace, config, model_config) -> None:
    """A resumed run must be the run that was stopped, but for its length and its reports."""
    from tgl_e2e.errors import InputError

    path = arguments.output / "run.json"
    if not path.is_file():
        raise InputError(f"{arguments.output}: no run.json in it; nothing to resume")
    before = json.loads(path.read_text())
    now = json.loads(json.dumps({"stage": arguments.stage, "train": config.to_dict(),
                                 "model": model_config.to_dict()}))
    free = {"steps", "workers", "log_every", "eval_every", "eval_clips", "save_every"}
    changed = [name for name in now["train"]
               if name not in free and now["train"][name] != before["train"].get(name)]
    changed += [name for name in ("stage", "model") if now[name] != before[name]]
    if changed:
        raise InputError(f"--resume: {', '.join(changed)} differ from the stopped run; give the "
                         f"same values and --init as in {path}")


def build_model(arguments: argparse.Namespace, model_config):
    """A fresh network, or --init's weights under the configuration asked for."""
    from tgl_e2e.errors import InputError
    from tgl_e2e.model.tgl import TGL

    if arguments.init is None:
        return TGL(model_config)
    model = TGL.from_pretrained(arguments.init)
    if model.config == model_config:
        return model
    fresh = TGL(model_config, pretrained=False, tokenizer=arguments.init)
    fresh.bases_from_config = model.bases_from_config
    try:
        # Modules that the new configuration switches on start afresh; none may be lost or reshaped.
        missing, unexpected = fresh.load_state_dict(model.state_dict(), strict=False)
    except RuntimeError as error:
        raise InputError(f"--init {arguments.init}: its weights do not fit the values of model.* "
                         f"({str(error).splitlines()[1].strip()})") from None
    switched = ("adapters.0.temporal.", "adapters.1.temporal.", "adapters.2.temporal.",
                "adapters.0.difference.", "adapters.1.difference.", "adapters.2.difference.",
                "tam.pool.")
    odd = [name for name in (*missing, *unexpected) if not name.startswith(switched)]
    if odd:
        raise InputError(f"--init {arguments.init}: its weights do not fit the values of model.* "
                         f"(tensor {odd[0]!r})")
    return fresh


def learning_rate(step: int, warmup: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, cosine decay to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def validate(accelerator, module, loader, output: Path, step: int) -> dict[str, float]:
    """Means over fixed clips, IoU also per cue; writes one sample picture."""
    import torch

    from tgl_e2e.training import clip_scores, draw_samples

    module.eval()
    values: dict[str, list[float]] = defaultdict(list)
    for number, batch in enumerate(loader):
        batch = batch.to(accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            losses, result = module(batch)
        values["loss"].append(losses["loss"].item())
        if result is None:
            for name, value in losses.items():
                values[name].append(value.item())
            continue
        for row in clip_scores(result, batch):
            values[f"iou/{row['cue']}"].append(row["iou"])
            for name in ("iou", "iou_carried", "top1", "tam_accuracy"):
                if name in row:
                    values[name].append(row[name])
        if number == 0 and accelerator.is_main_process:
            (output / "samples").mkdir(exist_ok=True)
            draw_samples(batch, result, output / "samples" / f"{step:06d}.png")
    module.train()
    return {name: round(sum(v) / len(v), 4) for name, v in sorted(values.items())}


def append_line(path: Path, row: dict, accelerator) -> None:
    if accelerator.is_main_process:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def save_state(accelerator, state: Path, step: int, schedule: dict) -> None:
    """Everything that --resume needs, put in place of the previous state in one move."""
    fresh, old = state.with_name("state.partial"), state.with_name("state.old")
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()  # every process has written its part before it is renamed
    if accelerator.is_main_process:
        (fresh / "progress.json").write_text(json.dumps({"step": step, "schedule": schedule}))
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            os.replace(state, old)
        os.replace(fresh, state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def leave_signals_to_main(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; a worker that died of it would break the stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class StopSignal:
    """SIGTERM and Ctrl-C ask for a stop after the current step."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)

    def agreed(self, accelerator) -> bool:
        """Whether any process was asked to stop; all processes get the same answer."""
        if accelerator.num_processes == 1:
            return self.requested
        import torch

        asked = torch.tensor(float(self.requested), device=accelerator.device)
        return bool(accelerator.reduce(asked, "sum") > 0)

    def _request(self, *_) -> None:
        self.requested = True


if __name__ == "__main__":
    main()

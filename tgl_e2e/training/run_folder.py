"""The folder of a training run: its log, its resumable state, its networks.

    run.json           the resolved configuration
    log.jsonl          one line per optimizer step; valid.jsonl: one per validation
    state/             everything that --resume needs, always whole
    stages/            the earlier stages of a recipe, each a folder of this kind
    best/              the network of the best validation, with its config.json and run.json
    model.safetensors  the network at the end, with config.json and the tokenizer

Whatever is replaced is written beside its place first and moved there, so that a kill at any
moment leaves the old or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from tgl_e2e.config import TGLConfig
from tgl_e2e.errors import InputError
from tgl_e2e.files import flush, locked, replacing
from tgl_e2e.training.config import EARLIER_STAGES, TrainConfig

TRAINED_NAME = "trained.safetensors"  # in state/: the parameters that this stage changes
# What runs did before there was the value, where that is not its default.
BEFORE = {"clips_per_expression": 1, "dice_per_frame": True}
LOCK_PATIENCE = 30.0  # seconds to wait for a run that is just saving and stopping


class RunFolder:
    """
    Args:
        path: the folder; made when something is written.
        accelerator: Accelerate's Accelerator of this run.
    """

    def __init__(self, path: Path, accelerator) -> None:
        self.path = path
        self.accelerator = accelerator
        self._lock = ExitStack()
        accelerator.register_save_state_pre_hook(self._write_trained)
        accelerator.register_load_state_pre_hook(self._read_trained)

    @contextmanager
    def writing(self):
        """Around whatever writes here: a full disk becomes one line, and an InputError."""
        try:
            yield
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            torch_save = ("PytorchStreamWriter", "unexpected pos")  # for the same causes
            if isinstance(error, RuntimeError) and not any(w in str(error) for w in torch_save):
                raise
            raise InputError(
                f"{self.path}: could not be written to ({reason}); the last saved state "
                "is whole: make room and go on with --resume"
            ) from None

    def open(self, resume: bool) -> None:
        """Claims the folder for this run.

        Raises:
            InputError: it holds something and ``resume`` is False; or another run writes to it.
        """
        # No process may see what the first one is about to write.
        own = (".lock", EARLIER_STAGES)
        taken = self.path.exists() and any(p.name not in own for p in self.path.iterdir())
        self.accelerator.wait_for_everyone()
        if taken and not resume:
            raise InputError(f"{self.path} is not empty; give --resume or another --output")
        if self.accelerator.is_main_process:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                what = f"{self.path}: another training"
                self._lock.enter_context(locked(self.path / ".lock", what, LOCK_PATIENCE))
            except OSError as error:
                raise InputError(
                    f"{self.path}: cannot be written to ({error.strerror}); give another --output"
                ) from None
            for name in ("state", "best"):  # killed between two moves
                old = self.path / f"{name}.old"
                if old.exists() and not (self.path / name).exists():
                    os.replace(old, self.path / name)
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        self._lock.close()

    def write_configuration(self, resolved: dict[str, Any]) -> None:
        """run.json: what each checkpoint in this folder was trained with."""
        if self.accelerator.is_main_process:
            self._replace(self.path / "run.json", json.dumps(resolved, indent=2) + "\n")

    def _replace(self, path: Path, text: str) -> None:
        with self.writing(), replacing(path) as partial:
            partial.write_text(text)

    def check_same(self, resolved: dict[str, Any], free: set[str]) -> None:
        """A resumed run must be the run that was stopped, but for values in ``free``.

        Raises:
            InputError: it is another one; or the network that it began from has changed.
        """
        path = self.path / "run.json"
        before, now = json.loads(path.read_text()), json.loads(json.dumps(resolved))
        # Values that are newer than that run are those of a network without them: the defaults.
        model = flat(TGLConfig.from_dict(before["model"]).to_dict(), "model.")
        own = flat(now["model"], "model.")
        train = {**TrainConfig().to_dict(), **BEFORE, **before["train"]}
        changed = [n for n, value in now["train"].items() if n not in free and value != train[n]]
        changed += [name for name in sorted({*own, *model}) if own.get(name) != model.get(name)]
        changed += [
            name for name in now if name not in ("train", "model") and now[name] != before.get(name)
        ]
        if changed == ["init_step"]:
            raise InputError(
                f"{self.path}: began from step {before['init_step']} of {now['init']},"
                f" which is at step {now['init_step']} by now; remove this stage's "
                "folder to train it anew"
            )
        if changed:
            raise InputError(
                f"--resume: {', '.join(changed)} differ from the stopped run; give "
                f"the same values and --init as in {path}"
            )

    def append(self, name: str, row: dict[str, Any]) -> None:
        """One line of log.jsonl or valid.jsonl."""
        if self.accelerator.is_main_process:
            with self.writing(), (self.path / name).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def cut_log(self, step: int) -> None:
        """Removes lines of steps after ``step``: they will be written again."""
        if not self.accelerator.is_main_process:
            return
        for name in ("log.jsonl", "valid.jsonl"):
            kept = [line for line in self._lines(name) if json.loads(line)["step"] <= step]
            if (self.path / name).is_file():
                self._replace(self.path / name, "".join(line + "\n" for line in kept))

    def logged(self, name: str, step: int) -> bool:
        """Whether the log has a line of ``step``; asked of the main process."""
        steps = (json.loads(line)["step"] for line in self._lines(name))
        return self.accelerator.is_main_process and step in steps

    def _lines(self, name: str) -> list[str]:
        path = self.path / name
        # the end of a torn line is not one
        return path.read_text().split("\n")[:-1] if path.is_file() else []

    def save_state(self, progress: dict[str, Any]) -> None:
        """Weights, optimizer, scaler and random generators of every process, and ``progress``."""
        fresh, main = self.path / "state.partial", self.accelerator.is_main_process
        with self.writing():
            if main:
                shutil.rmtree(fresh, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            try:
                self.accelerator.save_state(str(fresh))
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            self.accelerator.wait_for_everyone()  # all parts are there before it is moved
            if main:
                (fresh / "progress.json").write_text(json.dumps(progress))
                _move(fresh, self.path / "state")
            self.accelerator.wait_for_everyone()

    def load_state(self) -> dict[str, Any] | None:
        """Restores what :meth:`save_state` saved last; its ``progress``, None where there is none
        of this run yet."""
        progress = progress_in(self.path)
        if progress is not None:
            self.accelerator.load_state(str(self.path / "state"))
        return progress

    def _write_trained(self, models: list[nn.Module], weights: list, folder: str) -> None:
        """Accelerate's hook: frozen weights, most of the network, are not written every time."""
        if not weights:
            return  # sharded: Accelerate has written the shards
        weights.clear()
        if self.accelerator.is_main_process:
            Path(folder).mkdir(parents=True, exist_ok=True)
            parameters = self.accelerator.unwrap_model(models[0]).named_parameters()
            trained = {n: p.detach().cpu().contiguous() for n, p in parameters if p.requires_grad}
            save_file(trained, str(Path(folder) / TRAINED_NAME))

    def _read_trained(self, models: list[nn.Module], folder: str) -> None:
        path = Path(folder) / TRAINED_NAME
        if not path.is_file():
            return
        module = self.accelerator.unwrap_model(models.pop())
        state = load_file(str(path))
        trained = {name for name, p in module.named_parameters() if p.requires_grad}
        if set(state) != trained:
            raise InputError(
                f"{path}: holds other parameters than this stage trains; resume with "
                "the version that wrote it"
            )
        module.load_state_dict(state, strict=False)

    def write_network(self, module, resolved: dict[str, Any], best: bool = False) -> None:
        """The network as ``save_pretrained`` writes it, into the folder itself or into best/.

        Every process calls it, since sharded weights have to be gathered.
        """
        state = None
        if str(self.accelerator.distributed_type).endswith("FSDP"):
            state = self.accelerator.get_state_dict(module)
        if self.accelerator.is_main_process:
            bare = self.accelerator.unwrap_model(module)
            with self.writing():
                if not best:
                    bare.save(self.path, state)
                else:
                    fresh = self.path / "best.partial"
                    shutil.rmtree(fresh, ignore_errors=True)
                    bare.save(fresh, state)
                    (fresh / "run.json").write_text(json.dumps(resolved, indent=2) + "\n")
                    _move(fresh, self.path / "best")
        self.accelerator.wait_for_everyone()


def progress_in(folder: Path) -> dict[str, Any] | None:
    """How far the run in a folder has been saved; None if there is none, or no state of it."""
    path = folder / "state"
    if not path.exists():  # killed between two moves; RunFolder.open mends it
        path = folder / "state.old"
    path = path / "progress.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _move(fresh: Path, folder: Path) -> None:
    """Puts ``fresh`` in ``folder``'s place; :meth:`RunFolder.open` mends a kill in between."""
    for path in fresh.rglob("*"):
        if path.is_file():
            flush(path)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def flat(values: dict, prefix: str = "") -> dict[str, int | float | str | bool]:
    """Nested values by dotted names, as trackers take them: {"train.lr": 1e-4, ...}"""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value if isinstance(value, (int, float, bool)) else str(value)
    return found

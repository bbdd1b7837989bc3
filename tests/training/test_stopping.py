"""Signals, workers that bring nothing, and locks that a file system does not have."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from training_runs import ROOT

from tgl_e2e.errors import InputError
from tgl_e2e.training import run_folder
from tgl_e2e.training.run_folder import RunFolder
from tgl_e2e.training.stopping import StopSignal, until_stopped
from tgl_e2e.training.validation import Validation


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield StopSignal()
    for number, handler in before.items():
        signal.signal(number, handler)


def waiting(batches: int):
    """A loader whose next batch never comes: the signal does instead."""
    yield from range(batches)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def test_a_signal_ends_the_wait_for_a_batch(stop):
    assert list(until_stopped(waiting(3), stop, alone=True)) == [0, 1, 2]
    assert stop.requested and not stop.waiting


def test_a_signal_outside_the_wait_lets_the_step_be_finished(stop):
    batches = until_stopped(range(5), stop, alone=True)
    assert next(batches) == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
    assert list(batches) == []


def test_one_of_several_processes_does_not_leave_by_itself(stop):
    """The others would wait for it in the middle of a step."""
    batches = until_stopped(range(5), stop, alone=False)
    assert next(batches) == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert list(batches) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "message",
    [
        "DataLoader timed out after 600 seconds",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...",
        "Caught RuntimeError in DataLoader worker process 0.\nTraceback\n"
        "RuntimeError: unable to write to file </torch_7_1>: No space left on device (28)",
    ],
)
def test_a_loader_without_memory_is_one_line(stop, message):
    def broken():
        yield 0
        raise RuntimeError(message)

    with pytest.raises(InputError, match=r"--ipc=host.* workers=0") as error:
        list(until_stopped(broken(), stop, alone=True))
    assert "\n" not in str(error.value)


def test_other_errors_of_a_loader_stay_what_they_are(stop):
    def broken():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        yield

    with pytest.raises(RuntimeError, match="mat1"):
        list(until_stopped(broken(), stop, alone=True))


def test_a_stop_during_validation_ends_it_between_two_passes():
    asked = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) == 2

    passes = []
    validation = Validation.__new__(Validation)
    validation.accelerator = SimpleNamespace(
        device="cpu", num_processes=1, autocast=torch.inference_mode
    )
    validation.indices = [[0], [1], [2]]
    validation.loader = [SimpleNamespace(to=lambda device: passes.append(1))] * 3

    class Module(torch.nn.Module):
        def forward(self, batch):
            return {"loss": torch.tensor(1.0)}, None

    module = Module()
    assert validation.run(module, None, stopping) is None
    assert len(passes) == 1 and module.training
    assert validation.run(module, None) == {"loss": 1.0}


# Locks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def nothing(*arguments) -> None:
        pass

    monkeypatch.setattr(run_folder, "LOCK_PATIENCE", 0)
    accelerator = SimpleNamespace(
        is_main_process=True,
        wait_for_everyone=nothing,
        register_save_state_pre_hook=nothing,
        register_load_state_pre_hook=nothing,
    )
    return RunFolder(tmp_path / "run", accelerator)


def failing(number: int):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(folder, monkeypatch, number):
    monkeypatch.setattr("fcntl.flock", failing(number))
    with pytest.warns(UserWarning, match="cannot be locked"):
        folder.open(resume=False)


def test_a_folder_that_is_written_to_is_refused(folder, monkeypatch):
    monkeypatch.setattr("fcntl.flock", failing(errno.EAGAIN))
    with pytest.raises(InputError, match="another training writes there"):
        folder.open(resume=False)


def test_a_system_without_fcntl_is_a_warning(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with pytest.warns(UserWarning, match="cannot be locked"):
        folder.open(resume=False)


def test_too_little_shared_memory_ends_a_training_in_one_line(tmp_path):
    """In a container of its own, as far as /dev/shm goes: real workers, a real file system."""
    private = [shutil.which("unshare"), "-m", "sh", "-c"]
    small = "mount -t tmpfs -o size=4m tmpfs /dev/shm"
    if private[0] is None or subprocess.run([*private, small], capture_output=True).returncode:
        pytest.skip("needs Linux and the right to mount")
    values = "steps=3 batch_size=8 dense_weight=0 valid_split= workers=1 tracker=none"
    command = (
        f"{small}; exec {sys.executable} train.py --config tiny --stage video "
        f"--output {tmp_path / 'run'} {values}"
    )
    done = subprocess.run(
        [*private, command],
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "--ipc=host" in last and "workers=0" in last and "Traceback" not in done.stderr

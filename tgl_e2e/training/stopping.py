"""How a training is stopped: by a signal at any moment, or by a loader that brings nothing."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator

from tgl_e2e.errors import InputError

DATA_PATIENCE = 600  # seconds without a batch after which workers are taken for stuck
# In what torch says where a batch does not fit into shared memory, or a worker died of that.
_SHARED_MEMORY = ("shared memory", "(shm)", "Bus error", "unable to resize", "unable to write to")


class Stopped(Exception):
    """A stop was asked for while there was nothing to finish first."""


class StopSignal:
    """SIGTERM and Ctrl-C ask for a stop after the current step, and so does the launcher's end: a
    run whose launcher was killed would go on unseen otherwise. A second Ctrl-C stops at once.

    requested: whether a stop was asked for; waiting: True while nothing is under way: then a signal
    raises Stopped.
    """

    def __init__(self) -> None:
        self.requested = False
        self.waiting = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request)
        if sys.platform == "linux" and "ACCELERATE_MIXED_PRECISION" in os.environ:
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)

    def _request(self, number: int, _) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.waiting:
            self.waiting = False
            raise Stopped


def leave_signals_to_main(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; a worker that died of it would break the stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def until_stopped(loader: Iterable, stop: StopSignal, alone: bool) -> Iterator:
    """The batches of a loader, until a stop is asked for while it waits for the next one.

    Args:
        alone: whether this is the only process. Of several none may leave by itself: the others
            would wait for it in the middle of a step.

    Raises:
        InputError: shared memory is too small, or workers bring nothing.
    """
    batches = iter(loader)
    try:
        while not (alone and stop.requested):
            stop.waiting = alone
            try:
                batch = next(batches, None)
            except InputError as error:  # a worker's has its traceback in front
                line = str(error).strip().splitlines()[-1]
                raise InputError(line.removeprefix("tgl_e2e.errors.InputError: ")) from None
            except RuntimeError as error:
                text = str(error)
                if "timed out" not in text and not any(word in text for word in _SHARED_MEMORY):
                    raise
                raise InputError(
                    f"the loader's workers brought no clips ({text.strip().splitlines()[-1]}); "
                    "give a container more shared memory (docker run --ipc=host, or "
                    "--shm-size=8g), or use workers=0"
                ) from None
            finally:
                stop.waiting = False
            if batch is None:
                return
            yield batch
    except Stopped:
        return
    finally:
        _end_workers()


def _end_workers() -> None:
    """Workers that are left after an error ignore the signal that ends them at the exit, and Python
    would wait for them for ever."""
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    if workers and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises where a worker is killed
    for worker in workers:
        worker.kill()


def anywhere(flag: bool) -> bool:
    """Whether it is true on any process; the same answer on all of them."""
    from accelerate.utils import gather_object

    return any(gather_object([flag]))

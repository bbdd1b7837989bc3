"""Several processes that share an evaluation, as `accelerate launch` starts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta

from tgl_e2e.data.base import VideoRecord
from tgl_e2e.errors import InputError

# A process that is done waits for the others, which may take long: no default of half an hour.
_PATIENCE = timedelta(days=30)


class Processes:
    """Which of how many processes this is, and what they say to each other.

    Args:
        device: as on the command line: auto, cpu, cuda, cuda:1, ...
        threads: of this process, where it computes on a CPU: sums over more threads come out
            otherwise in their last digits.

    Raises:
        InputError: the device is not there, or was named one by one for several processes.
    """

    def __init__(self, device: str, threads: int = 1) -> None:
        self.index, self.count = process_index(), int(os.environ.get("WORLD_SIZE", "1"))
        self._state = None
        if self.count > 1:
            if device not in ("auto", "cpu"):
                raise InputError(
                    f"--device {device}: several processes get a device each; give auto or cpu"
                )
            from accelerate import PartialState

            self._state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
            device = str(self._state.device)
        self.device = usable(device)
        if self.device == "cpu":
            import torch

            torch.set_num_threads(threads)

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self._state is not None:
            self._state.wait_for_everyone()

    def main_first(self, action: Callable[[], None]) -> None:
        """Runs `action` in the main process alone, while the others wait.

        Raises:
            InputError: in every process, if `action` raises it.
        """
        message = [None]
        if self.is_main:
            try:
                action()
            except InputError as error:
                message = [str(error)]
        if self._state is not None:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(message)
        if message[0] is not None:
            raise InputError(message[0])


def process_index() -> int:
    """Number of this process among those of its launch; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def work_of(video: VideoRecord) -> int:
    """What a video costs: time goes with frames times expressions."""
    return video.num_frames * len(video.expressions)


def share_out(videos: Sequence[VideoRecord], count: int) -> list[list[VideoRecord]]:
    """Deals videos out to `count` processes so that all have about the same work.

    The most expensive video goes first, each to whoever has the least so far; a pure function of
    its arguments. All expressions of a video stay together: they share most of the work.

    Returns:
        `count` lists, each in the order of `videos`.
    """
    owner: dict[str, int] = {}
    loads = [0] * count
    for video in sorted(videos, key=work_of, reverse=True):  # stable: ties stay in order
        least = loads.index(min(loads))
        owner[video.name] = least
        loads[least] += work_of(video)
    return [[video for video in videos if owner[video.name] == n] for n in range(count)]


def usable(device: str) -> str:
    """The device of a command line; InputError if it is not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--device {device}: not to be had ({reason}); try cpu") from None
    return device

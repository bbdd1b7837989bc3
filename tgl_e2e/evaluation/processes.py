"""Several processes that share an evaluation, as `accelerate launch` starts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from tgl_e2e.data.base import VideoRecord
from tgl_e2e.errors import InputError
from tgl_e2e.inference.device import choose_device

if TYPE_CHECKING:
    from accelerate import PartialState

# A process that is done waits for the others, which may take long: no default of half an hour.
_PATIENCE = timedelta(days=30)


def join(device: str, threads: int = 1) -> tuple[PartialState, str]:
    """Accelerate's state of all processes, and the device of this one.

    Args:
        device: as on the command line: auto, cpu, cuda, cuda:1, ...
        threads: of this process, where it computes on a CPU: sums over more threads come out
            otherwise in their last digits.

    Raises:
        InputError: the device is not there, or was named one by one for several processes.
    """
    import torch
    from accelerate import PartialState

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and device not in ("auto", "cpu"):
        raise InputError(
            f"--device {device}: several processes get a device each; give auto or cpu"
        )
    state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    device = str(choose_device(str(state.device) if several else device)[0])
    if device == "cpu":
        torch.set_num_threads(threads)
    return state, device


def on_main(state: PartialState, action: Callable[[], None]) -> None:
    """Runs `action` in the main process, while the others wait; its InputError is raised in all."""
    from accelerate.utils import broadcast_object_list

    message = [None]
    if state.is_main_process:
        try:
            action()
        except InputError as error:
            message = [str(error)]
    broadcast_object_list(message)
    if message[0] is not None:
        raise InputError(message[0])


def work_of(video: VideoRecord) -> int:
    """What a video costs: time goes with frames times expressions."""
    return video.num_frames * len(video.expressions)


def share_out(videos: Sequence[VideoRecord], count: int) -> list[list[VideoRecord]]:
    """Deals videos out to `count` processes, each in order, so that all have about the same work.

    The most expensive video goes first, each to whoever has the least so far. All expressions of a
    video stay together: they share most of the work.
    """
    loads, owner = [0] * count, {}
    for video in sorted(videos, key=work_of, reverse=True):  # stable: ties stay in order
        owner[video.name] = least = loads.index(min(loads))
        loads[least] += work_of(video)
    return [[video for video in videos if owner[video.name] == n] for n in range(count)]

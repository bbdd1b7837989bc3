"""Where a network runs, and in which precision, by what a user said."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tgl_e2e.errors import InputError

if TYPE_CHECKING:
    import torch

    from tgl_e2e.model.tgl import TGL

SMALL = 2**17  # values of a frame at stride 16; larger layers fill a CPU's threads, and its memory


def choose_device(device: str, dtype: str = "auto") -> tuple[torch.device, torch.dtype]:
    """auto is the first of cuda, mps and cpu that is there, and bfloat16 on cuda alone.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device {device}: give auto, cuda, mps or cpu") from None
    usable = {"cpu": True, "cuda": cuda, "mps": mps}.get(chosen.type, False)
    if not usable or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"--device {device}: not usable on this machine, give auto or cpu")
    return chosen, getattr(torch, dtype_of(dtype, chosen.type))


def dtype_of(asked: str, device: str) -> str:
    """bfloat16 on cuda and float32 elsewhere, unless asked for otherwise."""
    if asked != "auto":
        return asked
    return "bfloat16" if device.startswith("cuda") else "float32"


@dataclass(frozen=True)
class Share:
    """Of a CPU's threads. windows: so many are encoded side by side; masks: threads of what depends
    on memory, which runs beside the next block's windows; count: all threads."""

    windows: int
    masks: int
    count: int


def share_threads(model: TGL) -> Share | None:
    """How to run a network whose single layers are too small for all threads; None: one thing after
    the other, each on all of them."""
    import torch

    count, vision = torch.get_num_threads(), model.vision
    values = (vision.image_size // 16) ** 2 * vision.stage_dims[2]
    if count < 2 or next(model.parameters()).device.type != "cpu" or values > SMALL:
        return None
    masks = max(1, count // 4)
    return Share(min(4, max(2, count - masks)), masks, count)


def computing(model: TGL, threads: int | None = None) -> ExitStack:
    """The context of everything that a network does in inference, on the thread that enters it.

    Args:
        threads: that PyTorch may start meanwhile; None: as many as before.
    """
    import torch

    from tgl_e2e.model.cpu import FastProducts

    with ExitStack() as stack:
        if threads is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        stack.enter_context(torch.no_grad())
        stack.enter_context(model.autocast())
        stack.enter_context(FastProducts())
        return stack.pop_all()

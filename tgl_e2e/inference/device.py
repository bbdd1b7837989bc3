"""Where a network runs, and in which precision, by what a user said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgl_e2e.errors import InputError

if TYPE_CHECKING:
    import torch


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

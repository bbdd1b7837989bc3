"""torch.compile of what a frame's time goes to, where there is a compiler for it."""

from __future__ import annotations

import torch

from tgl_e2e.model.memory_attention import attend_to_memory
from tgl_e2e.model.vision import Vision

# The blocks of a trunk share their code, and the compiler gives up on code of which it has compiled
# more than 8 variants: Hiera-L has ten kinds of block.
VARIANTS = 64


def compile_vision(vision: Vision, frames: int, device: torch.device) -> str | None:
    """Compiles the blocks of the trunk and memory attention, in place; names of parameters stay.
    The first frames then take a minute or more.

    Args:
        frames: of which the trunk computes so many at once, always: every other number would be
            compiled anew, and for any number the compiler works for many minutes.
        device: where the network will run; it may not be there yet.

    Returns:
        None, or in one line why that cannot be had here: then everything runs as it is.
    """
    if vision.compiled_frames:
        return None
    try:
        torch.compile(_probe)(torch.zeros(2, device=device))
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, VARIANTS)
    except Exception as error:  # as many types as there are backends
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    for block in vision.sam.image_encoder.trunk.blocks:
        block.compile(dynamic=False)
    vision.attend_to_memory = torch.compile(attend_to_memory)
    vision.compiled_frames = frames
    return None


def _probe(x: torch.Tensor) -> torch.Tensor:
    """As much as it takes to find out whether a compiler is there."""
    return x + 1

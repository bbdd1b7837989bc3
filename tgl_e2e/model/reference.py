"""The dual path of the paper as it is written: one expression, one block, one frame at a time.

Slow and plain; training and inference run :mod:`tgl_e2e.model.dual_path`, and a test holds all
three to the same masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tgl_e2e.model.memory import MemoryBank
from tgl_e2e.model.tgl import TGL
from tgl_e2e.windows import WINDOWS


def segment_frame_by_frame(
    model: TGL, frames: Tensor, expression: str, relevant: Tensor
) -> tuple[Tensor, Tensor]:
    """Masks of the frames of one block.

    Args:
        frames: (T, 3, H, W) uint8, or float in [0, 1].
        relevant: (T,) bool, M+; without any, all frames take the language path, as in training.

    Returns:
        Mask logits (T, S/4, S/4), -1024 where the object is absent, and presence (T,).
    """
    memory, vision = model.config.memory, model.vision
    tokens = model.text.tokenize([expression])
    f_adp, f_sam, rho_txt = {}, {}, {}
    for window in WINDOWS[model.config.windows](len(frames), model.config.window):
        prefix = model.encode_prefix(frames[window])
        times = torch.from_numpy(window)[None] / model.config.block
        clip = model.extract_adapted(prefix, tokens, times)  # Eq. 1 and 2
        plain = model.extract_plain(prefix)
        for row, t in enumerate(window.tolist()):
            f_adp[t], rho_txt[t] = clip.features[row : row + 1], clip.prompts
            f_sam[t] = plain[row : row + 1] if memory.mfe else f_adp[t]

    everywhere = torch.ones_like(relevant)
    language = relevant if relevant.any() and memory.dual_path else everywhere
    remembered = everywhere if memory.bank == "all" else language
    bank, predictions = MemoryBank(), {}
    # M+ in time order, then M-; every frame reads the bank as it is then.
    order = [*remembered.nonzero().flatten().tolist(), *(~remembered).nonzero().flatten().tolist()]
    for t in order:
        now, entries = torch.tensor([t]), bank.read() if len(bank) else None
        f = f_adp[t] if language[t] else f_sam[t]
        f_mem = vision.read_memory(f, now, entries)  # Eq. 4
        p = vision.decode(f_mem, f, rho_txt[t] if language[t] else None)  # Eq. 3 on M+, Eq. 5
        if remembered[t]:
            bank.write(vision.write_memory(f, p, now))
        predictions[t] = p
    found = [predictions[t] for t in range(len(frames))]
    return torch.cat([p.gated() for p in found]), torch.cat([p.presence for p in found])

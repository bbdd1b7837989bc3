"""Matrix products and attention on a CPU, as fast as its library allows.

PyTorch sends float32 products to MKL, which on some processors of other makers than Intel uses half
of their vector width; oneDNN, which PyTorch contains too and uses for bfloat16, does not. Its
operator is the one that ``torch.compile`` emits for linear layers. PyTorch's attention on a CPU is
made of MKL's products: there it leaves much of either library's rate on the table, and so it does
on every processor where values are narrower than keys, and in the backward pass of small windows,
where plain products are 4 to 8 times faster. Memory of large tensors costs as much as the
arithmetic on them (the system hands it out page by page, at every use), so what can be done in
pieces is. In float32 nothing here is approximate: sums are taken in another order, no more. In
bfloat16, plain products round scores before the softmax.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SMALLEST_PRODUCT = 2**21  # multiplications; below, oneDNN's own overhead decides
SMALLEST_ATTENTION = 2**20  # scores per head
LARGEST_WINDOW = 2**16  # float32 scores per head; above, their traffic makes plain products slower
LARGEST_HALF_WINDOW = 2**18  # the same in bfloat16
SCORES_AT_ONCE = 6 * 2**20  # a chunk's scores stay in the last-level cache
VALUES_AT_ONCE = 2**22  # of a strip's widest layer: the allocator keeps blocks of that size


@functools.cache
def _onednn() -> Callable[..., Tensor] | None:
    """oneDNN's float32 linear layer, or None where this build of PyTorch has none."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        operator = torch.ops.mkldnn._linear_pointwise
        x = torch.arange(6.0).view(2, 3)
        same = torch.equal(operator(x, x, None, "none", [], ""), x @ x.T)
    except (AttributeError, RuntimeError):
        return None
    return operator if same else None


@functools.cache
def mkl_at_full_rate() -> bool:
    """Whether MKL, and with it PyTorch's attention, uses all of this processor: Intel's own."""
    try:
        maker = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        maker = platform.processor()
    return torch.backends.mkl.is_available() and "GenuineIntel" in maker


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` without gradients: x (..., K), weight (N, K), bias (N,) -> (..., N)"""
    operator = _onednn() if _plain_float(x) and _plain_float(weight) else None
    if operator is None or x.numel() * weight.shape[0] < SMALLEST_PRODUCT:
        return F.linear(x, weight, bias)
    # Of strided input oneDNN makes something a hundred times slower.
    return operator(x.contiguous(), weight.contiguous(), bias, "none", [], "")


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of one head, without gradients, a chunk of queries after the other.

    Args:
        query: (M, D), key: (N, D), value: (N, Dv), where Dv may differ from D.
        bias: (N,) added to every row of scores.

    Returns:
        (M, Dv)
    """
    query, key = query * query.shape[-1] ** -0.5, key.contiguous()
    columns = value.T.contiguous()
    parts = []
    for rows in query.split(max(16, SCORES_AT_ONCE // len(key))):
        scores = linear(rows, key)
        if bias is not None:
            scores += bias
        parts.append(linear(torch.softmax(scores, dim=-1, out=scores), columns))
    return torch.cat(parts)


def rows_at_once(x: Tensor, rows: int, values: int, multiple: int = 1) -> int:
    """How many of ``x``'s rows to compute at once: all, but for inference on a CPU, where pieces
    whose ``values`` per row make VALUES_AT_ONCE are faster.

    Args:
        rows: how many there are.
        values: of the largest tensor on the way, per row.
        multiple: rows that cannot be separated.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return rows
    return min(rows, max(1, VALUES_AT_ONCE // (values * multiple)) * multiple)


def by_rows(
    function: Callable[..., Tensor], *maps: Tensor, dim: int, values: int, multiple: int = 1
) -> Tensor:
    """``function(*maps)``, for inference on a CPU strip by strip along ``dim``.

    Args:
        function: of strips of ``maps``; no row of its result depends on rows of other strips.
        values: of the largest tensor on the way, per row.
        multiple: rows that cannot be separated.
    """
    rows = rows_at_once(maps[0], maps[0].shape[dim], values, multiple)
    parts = [function(*strip) for strip in zip(*(x.split(rows, dim) for x in maps), strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def run_block(block: nn.Module, x: Tensor) -> Tensor:
    """A block of SAM2's trunk; for inference on a CPU in pieces: some frames, or one frame strip by
    strip of whole windows, which know nothing of one another. The first two stages of Hiera-T take
    two thirds of the time for a frame of 1024 x 1024, and less than half per frame for four.

    Args:
        block: a MultiScaleBlock.
        x: (N, H, W, C)

    Returns:
        (N, H', W', C'), as ``block(x)``
    """
    count, height, width = x.shape[:3]
    shrink = block.q_stride[0] if block.q_stride else 1
    widest = width * max(block.attn.qkv.out_features, block.mlp.layers[0].out_features // shrink**2)
    frames, rows = rows_at_once(x, count, widest * height), height
    window = block.window_size
    if frames == 1 and window and window % shrink == 0:
        rows = rows_at_once(x, height, widest, window)
    if frames >= count and rows >= height:
        return block(x)
    joined = None
    for first in range(0, count, frames):
        for top in range(0, height, rows):
            part = block(x[first : first + frames, top : top + rows])
            if joined is None:
                joined = part.new_empty(count, height // shrink, *part.shape[2:])
            top //= shrink
            joined[first : first + frames, top : top + part.shape[1]] = part
    return joined


def usable(*tensors: Tensor) -> bool:
    """Whether :func:`attend` can take the place of PyTorch's attention for these."""
    return not torch.is_grad_enabled() and all(
        t.device.type == "cpu" and t.dtype in (torch.float32, torch.bfloat16) for t in tensors
    )


def _plain_float(x: Tensor) -> bool:
    autocast = torch.is_autocast_enabled("cpu")
    return usable(x) and x.dtype == torch.float32 and x.numel() > 0 and not autocast


class FastProducts(TorchFunctionMode):
    """Context in which linear layers and attention of any module take the functions above where
    they can: on a CPU, without gradients; with gradients, attention in small windows takes plain
    products. Elsewhere everything stays as it was."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and not kwargs:
            return linear(*args)
        if func is F.scaled_dot_product_attention and len(args) == 3:
            query, key, value = args
            scores = query.shape[-2] * key.shape[-2]
            if not torch.is_grad_enabled():
                slow = not mkl_at_full_rate() or value.shape[-1] != key.shape[-1]
                if not kwargs and slow and scores >= SMALLEST_ATTENTION and usable(*args):
                    return _attend_heads(*args)
            elif query.device.type == "cpu":
                half = torch.is_autocast_enabled("cpu") or query.dtype == torch.bfloat16
                asked = {n: value for n, value in kwargs.items() if n != "is_causal" or value}
                known = set(asked) <= {"attn_mask", "dropout_p", "scale"}
                if known and scores <= (LARGEST_HALF_WINDOW if half else LARGEST_WINDOW):
                    return attend_windows(*args, **asked)
        return func(*args, **kwargs)


def attend_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """``F.scaled_dot_product_attention`` as plain products, with gradients.

    Args:
        query: (..., M, D), key: (..., N, D), value: (..., N, Dv).
        attn_mask: bool, True where a key is seen, or a bias; broadcast to (..., M, N).
        scale: of the scores; None: 1 / sqrt(D).
    """
    if torch.is_autocast_enabled("cpu"):
        lower = torch.get_autocast_dtype("cpu")
        query, key, value = (x.to(lower) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.matmul(query * scale, key.transpose(-1, -2))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask.to(scores.dtype)
    with torch.autocast("cpu", enabled=False):  # which would make it float32, and copy
        weights = F.dropout(scores.softmax(dim=-1), dropout_p, training=dropout_p > 0)
    return torch.matmul(weights, value)


def _attend_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query (..., M, D), key (..., N, D), value (..., N, Dv) -> (..., M, Dv)"""
    heads = zip(*(x.flatten(0, -3) for x in (query, key, value)), strict=True)
    joined = torch.stack([attend(*head) for head in heads])
    return joined.view(*query.shape[:-1], value.shape[-1])

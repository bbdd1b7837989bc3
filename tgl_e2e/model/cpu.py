"""Matrix products and attention on a CPU, as fast as its library allows.

PyTorch sends float32 products to MKL, which on other makers' processors uses half of their vector
width; oneDNN, which PyTorch contains too and uses for bfloat16, does not. Its operator is the one
that ``torch.compile`` emits for linear layers. And PyTorch's attention on a CPU leaves much of
either library's rate on the table, most of all in bfloat16, and in the backward pass of small
windows, where plain products are 4 to 8 times faster. In float32 nothing here is approximate: sums
are taken in another order, no more. In bfloat16, plain products round scores before the softmax.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SMALLEST_PRODUCT = 2**21  # multiplications; below, oneDNN's own overhead decides
SMALLEST_ATTENTION = 2**20  # scores per head
LARGEST_WINDOW = 2**16  # scores per head; above, their own traffic makes plain products slower
SCORES_AT_ONCE = 6 * 2**20  # a chunk's scores stay in the last-level cache


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


def usable(*tensors: Tensor) -> bool:
    """Whether :func:`attend` can take the place of PyTorch's attention for these."""
    return not torch.is_grad_enabled() and all(
        t.device.type == "cpu" and t.dtype in (torch.float32, torch.bfloat16) for t in tensors)


def _plain_float(x: Tensor) -> bool:
    return (x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
            and not torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled())


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
        if func is F.scaled_dot_product_attention and not kwargs and len(args) == 3:
            query, key, _ = args
            if usable(*args) and query.shape[-2] * key.shape[-2] >= SMALLEST_ATTENTION:
                return _attend_heads(*args)
        if func is F.scaled_dot_product_attention and torch.is_grad_enabled() and len(args) == 3:
            query, key, _ = args
            small = query.shape[-2] * key.shape[-2] <= LARGEST_WINDOW
            known = {"attn_mask", "dropout_p", "scale"}
            asked = {name for name, value in kwargs.items() if name != "is_causal" or value}
            if query.device.type == "cpu" and small and asked <= known:
                return attend_windows(*args, **{name: kwargs[name] for name in asked})
        return func(*args, **kwargs)


def attend_windows(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, scale: float | None = None,
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

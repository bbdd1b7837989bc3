"""Image trunks: what SAM2's image encoder runs stage by stage, so that adapters stand between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Protocol

import timm
import torch
from einops import rearrange
from torch import Tensor, nn

from tgl_e2e.errors import InputError
from tgl_e2e.model import cpu
from tgl_e2e.model.folded import FoldedNet

STRIDES = (4, 8, 16, 32)  # of the four stages
# What timm's networks have between their last map and pooling (EfficientNet's 1 x 1 convolution).
BEFORE_POOLING = ("conv_head", "bn2", "norm_head", "final_conv")
# Calls a block with its input; with checkpointing it forgets what the backward pass can find again.
Step = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


class Trunk(Protocol):
    """Four stages of strides 4 to 32; maps go from one to the next as (N, H, W, C)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def embed(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) normalised -> what the first stage takes"""

    def stage(self, x: Tensor, number: int, step: Step) -> Tensor:
        """Stage ``number`` (0-based): (N, H, W, C) -> (N, H', W', C').

        Args:
            step: runs each of its blocks where gradients are wanted; see :data:`Step`.
        """


class HieraTrunk:
    """SAM2's own Hiera. Not a module: SAM2Base holds the weights."""

    mean = (0.485, 0.456, 0.406)  # ImageNet's
    std = (0.229, 0.224, 0.225)

    def __init__(self, hiera: nn.Module) -> None:
        self.hiera = hiera

    def embed(self, images: Tensor) -> Tensor:
        x = self.hiera.patch_embed(images)
        return x + self.hiera._get_pos_embed(x.shape[1:3])

    def stage(self, x: Tensor, number: int, step: Step) -> Tensor:
        start = 0 if number == 0 else self.hiera.stage_ends[number - 1] + 1
        for block in self.hiera.blocks[start : self.hiera.stage_ends[number] + 1]:
            x = step(partial(cpu.run_block, block), x)
        return x


class TimmTrunk(nn.Module):
    """Any timm backbone that is a chain of modules with maps at strides 4, 8, 16 and 32.

    It stands where SAM2's image encoder has Hiera, as in EfficientTAM and EdgeTAM. BatchNorm uses
    its stored statistics, in training too: batches of a few clips have none worth the name.

    Args:
        name: of timm's model, ``tf_efficientnet_lite0``.
        classifier: keep the part behind the last map, for
            :class:`~tgl_e2e.model.prior.SemanticPrior`.

    Raises:
        InputError: timm does not know the model, or it is not such a chain.
    """

    def __init__(self, name: str, classifier: bool = False) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise InputError(f"vision.trunk: timm has no model {name!r}; see timm.list_models()")
        net = timm.create_model(name, pretrained=False)
        self.mean = tuple(net.pretrained_cfg["mean"])
        self.std = tuple(net.pretrained_cfg["std"])
        ends = {info["reduction"]: info for info in getattr(net, "feature_info", ())}
        if not set(STRIDES) <= set(ends):
            raise InputError(
                f"vision.trunk: {name} has no maps at strides 4, 8, 16 and 32; take a "
                "convolutional backbone, for example timm/tf_efficientnet_lite0"
            )
        self.net = net
        # Finest last, as SAM2's trunks have it.
        self.channel_list = [ends[stride]["num_chs"] for stride in STRIDES[::-1]]
        self._stages = _stages(net, [ends[stride]["module"] for stride in STRIDES], name)
        self._folded = FoldedNet(net, [module for stage in self._stages for module in stage])
        kept = {module for stage in self._stages for module in stage}
        for child in list(dict(net.named_children())):
            inside = {f"{child}.{inner}" for inner, _ in net.get_submodule(child).named_children()}
            if not classifier and child not in kept and not kept & inside:
                delattr(net, child)

    def train(self, mode: bool = True) -> TimmTrunk:
        return super().train(False)

    def embed(self, images: Tensor) -> Tensor:
        return rearrange(images, "n c h w -> n h w c")

    def stage(self, x: Tensor, number: int, step: Step) -> Tensor:
        x = rearrange(x, "n h w c -> n c h w")
        if self._learns(x):
            for name in self._stages[number]:
                x = step(self.net.get_submodule(name), x)
        else:
            with torch.no_grad():
                x = self._folded.run(x, self._stages[number])
        return rearrange(x, "n c h w -> n h w c")

    def _learns(self, x: Tensor) -> bool:
        """Whether a backward pass is to come through here."""
        if not torch.is_grad_enabled():
            return False
        return x.requires_grad or any(p.requires_grad for p in self.net.parameters())

    def classify(self, last: Tensor) -> Tensor:
        """The model's own classifier at every cell of its last map.

        Shapes:
            last (N, h, w, C) -> logits (N, h, w, K)
        """
        x = rearrange(last, "n h w c -> n c h w")
        children = dict(self.net.named_children())
        names = list(children)
        for name in names[names.index(self._stages[-1][-1].split(".")[0]) + 1 :]:
            if name in BEFORE_POOLING:
                x = children[name](x)
        classifier = self.net.get_classifier()
        # All cells in one product: of a map that is not contiguous the weights are copied per row.
        cells = rearrange(x, "n c h w -> (n h w) c")
        logits = nn.functional.linear(cells, classifier.weight, classifier.bias)
        return logits.view(*last.shape[:3], -1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The four maps (N, C_k, H_k, W_k), finest first, as SAM2's ImageEncoder calls it."""
        x, maps = self.embed(images), []
        for number in range(len(STRIDES)):
            x = self.stage(x, number, lambda block, x: block(x))
            maps.append(rearrange(x, "n h w c -> n c h w"))
        return maps


def _stages(net: nn.Module, ends: list[str], name: str) -> list[list[str]]:
    """Names of the modules of each stage; the last of each gives its map."""
    holders = {end.split(".")[0] for end in ends if "." in end}
    chain: list[str] = []
    for child, module in net.named_children():
        inner = [f"{child}.{i}" for i, _ in module.named_children()] if child in holders else None
        chain += [child] if inner is None else inner
    if not set(ends) <= set(chain):
        raise InputError(f"vision.trunk: {name} is no chain of modules; take another backbone")
    cuts = [0, *(chain.index(end) + 1 for end in ends)]
    stages = [chain[a:b] for a, b in pairwise(cuts)]
    with torch.no_grad():  # children need not be called in the order they stand in
        x = torch.zeros(1, 3, 64, 64)
        try:
            for stage, stride in zip(stages, STRIDES, strict=True):
                for module in stage:
                    x = net.eval().get_submodule(module)(x)
                assert x.shape[-1] == 64 // stride
        except (RuntimeError, TypeError, AssertionError, NotImplementedError):
            raise InputError(
                f"vision.trunk: {name} is no chain of modules; take another backbone"
            ) from None
    return stages

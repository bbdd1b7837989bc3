"""SAMWISE's procedure (Cuttano et al., CVPR 2025) with the weights of ours, as the measure of what
its users wait for: one expression after the other, windows of 8 frames, nothing shared."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tgl_e2e.benchmark.contenders import Contender, Ours
from tgl_e2e.fit import Fit
from tgl_e2e.model.cpu import FastProducts
from tgl_e2e.model.features import FrameFeatures
from tgl_e2e.model.memory import Memories, MemoryBank
from tgl_e2e.model.samwise import Heads
from tgl_e2e.model.text import TextTokens


def plain_attention(
    heads: Heads,
    x: Tensor,
    context: Tensor,
    mask: Tensor | None = None,
    then: nn.Module | None = None,
) -> Tensor:
    """As :meth:`Heads.forward`, by PyTorch's own multi-head attention."""
    padding = None if mask is None else ~mask
    forward = nn.MultiheadAttention.forward
    found = forward(heads, x, context, context, key_padding_mask=padding, need_weights=False)[0]
    return found if then is None else then(found)


class Samwise(Contender):
    """Every frame of every expression: decoded, all of the trunk with adapters, memory attention,
    mask decoder, memory encoder, and its mask at the video's size.

    With ``--against samwise`` SAM2's modules run by their own forward, as in SAMWISE's copy of it,
    and the adapters' attention is PyTorch's;
    with ``samwise-fast`` all that :mod:`tgl_e2e.model` makes faster on the way is used here too, so
    that only what expressions share and what runs in batches makes a difference.
    """

    def __init__(self, args: argparse.Namespace, ours: Ours) -> None:
        self.args = args
        self.model = ours.model
        self.texts = ours.texts()
        self.source = ours.source
        self.fast = args.against == "samwise-fast"
        self.dtype = getattr(torch, args.official_dtype or args.dtype)
        self.fit = Fit.of(self.model)

    def run(self, end: int | None = None) -> None:
        kind = self.args.device.split(":")[0]
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(kind, self.dtype, self.dtype != torch.float32))
            if self.fast:
                stack.enter_context(FastProducts())
            else:
                stack.enter_context(mock.patch.object(Heads, "forward", plain_attention))
            for text in self.texts:
                self._expression(text, end)

    def parts(self) -> Iterator[tuple[Any, str, str]]:
        vision = self.model.vision
        yield Fit, "shrink", "decode"
        yield self, "_features", "trunk"
        yield from ((adapter, "forward", "adapters") for adapter in self.model.adapters)
        yield self.model.text, "layers", "text"
        yield self, "_read_memory", "memory attention"
        yield vision, "decode", "mask decoder"
        yield vision, "write_memory", "memory encoder"
        yield Fit, "to_size", "write-out"

    def _expression(self, text: str, end: int | None) -> None:
        tokens = self.model.text.tokenize([text]).to(self.args.device)
        bank, number = MemoryBank(), 0
        frames = (self.fit.shrink(rgb) for _, rgb in self.source.frames(0, end, 1))
        while window := list(islice(frames, self.model.config.window)):
            self._window(torch.stack(window).to(self.args.device), tokens, bank, number)
            number += len(window)

    def _window(self, images: Tensor, tokens: TextTokens, bank: MemoryBank, number: int) -> None:
        vision, keep = self.model.vision, self.model.dual_path.keep
        features, prompt = self._features(images, tokens)
        for at in range(len(images)):
            frame, place = features[at : at + 1], torch.tensor([number + at])
            memories = bank.read(keep) if len(bank) else None
            fused = self._read_memory(frame, place, memories)
            prediction = vision.decode(fused, frame, prompt)
            bank.write(vision.write_memory(frame, prediction, place))
            bank.prune(keep)
            self.fit.to_size(prediction.gated(), self.source.size)

    def _features(self, images: Tensor, tokens: TextTokens) -> tuple[FrameFeatures, Tensor]:
        model, vision = self.model, self.model.vision
        if self.fast:
            times = torch.arange(len(images))[None]
            clip = model.extract_adapted(model.encode_prefix(images), tokens, times, align=False)
            return clip.features, clip.prompts
        hiera, decoder = vision.sam.image_encoder.trunk, vision.sam.sam_mask_decoder
        x, text, done, stages = vision.trunk.embed(vision.preprocess(images)), None, 0, []
        text = model.text.embed(tokens)
        ends = (0, *(end + 1 for end in hiera.stage_ends))
        layers = (0, *model.config.text.adapter_layers)
        for stage, (first, end) in enumerate(pairwise(ends)):
            for block in hiera.blocks[first:end]:
                x = block(x)
            if stage:
                text = model.text.layers(text, tokens.mask, done, layers[stage])
                done = layers[stage]
                clip, text = model.adapters[stage - 1](x[None], text, tokens.mask, None)
                x = clip[0]
            stages.append(x.permute(0, 3, 1, 2))
        levels, _ = vision.sam.image_encoder.neck(stages)
        fine = (decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]))
        return FrameFeatures(levels[2], fine), model.prompt(text, tokens.verb_mask)

    def _read_memory(
        self, features: FrameFeatures, place: Tensor, memories: Memories | None
    ) -> Tensor:
        vision = self.model.vision
        if self.fast or memories is None:
            return vision.read_memory(features, place, memories)
        size = features.top.shape[-2:]
        x, pos = (y.flatten(2).mT for y in (features.top, vision._position(features.top)))
        tokens = vision._memory_tokens(memories, place, size)
        return vision._sam_attention(x, pos, tokens).mT.unflatten(2, size)

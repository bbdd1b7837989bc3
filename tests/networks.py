"""Networks of random weights for tests, and what brings such weights to life."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tgl_e2e import TGL, TGLConfig


def build(preset: str, seed: int = 0, **changes) -> TGL:
    """A network in eval mode in which no weight is at a value that hides what it does.

    Many parameters start at zero, one or 1e-6 (biases, position embeddings, layer scales): half of
    the network could be left out of a forward pass and nobody would notice. The adapters' W_up
    stay at zero, see :func:`drawn_up_projections`.
    """
    torch.manual_seed(seed)
    model = TGL(TGLConfig.from_preset(preset).with_values(**changes), pretrained=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        for up in up_projections(model):
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)
        sam = model.vision.sam
        # Mask logits of random weights lie near 0, where differences would be small too; and a few
        # object pointers among hundreds of spatial tokens would go unnoticed.
        sam.sam_mask_decoder.output_hypernetworks_mlps[0].layers[-1].weight.mul_(10)
        sam.obj_ptr_proj.layers[-1].weight.mul_(5)
        sam.obj_ptr_tpos_proj.weight.mul_(30)
    set_presence(model, 5.0)
    return model.eval()


def set_presence(model: TGL, logit: float) -> None:
    """Lets the presence head say yes (a positive logit) or no, whatever it sees."""
    head = model.vision.sam.sam_mask_decoder.pred_obj_score_head.layers[-1]
    nn.init.constant_(head.bias, logit)


def up_projections(model: TGL) -> list[nn.Linear]:
    """W_up of the adapters, which start at zero."""
    return [up for adapter in model.adapters for up in (adapter.visual_up, adapter.text_up)]


@contextmanager
def drawn_up_projections(model: TGL, std: float = 0.05) -> Iterator[None]:
    """Draws W_up (and the TAM's) at random, as if they had been trained; as before afterwards."""
    torch.manual_seed(1)
    weights = [up.weight for up in (*up_projections(model), model.tam.temporal_encoder.up)]
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.normal_(std=std)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)


@contextmanager
def trained_stage(model: TGL, stage: str) -> Iterator[None]:
    """Training mode for one stage; gradients are gone and the mode is eval afterwards."""
    model.set_stage(stage)
    model.train()
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        model.set_stage("video")
        model.eval()


def difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    assert a.shape == b.shape
    return (a - b).abs().max().item()

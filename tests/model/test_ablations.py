"""Each ablation of the paper is one value on the command line: it changes its part and no other."""

from dataclasses import replace

import pytest
import torch
from networks import drawn_up_projections

from tgl_e2e.data.clips import collate
from tgl_e2e.data.motion import MotionClips
from tgl_e2e.model.tgl import TGL
from tgl_e2e.training.arguments import legs, parse_arguments
from tgl_e2e.training.module import TrainingModule, clip_options

COMMON = [
    "--config",
    "tiny",
    "--stage",
    "video",
    "num_frames=6",
    "uniform_share=0",
    "remember_target=0",
    "dense_weight=0",
    "full_share=1",
    "medium_share=0",
    "no_target_share=0",
    "appearance_share=0",
]


def resolve(*values: str):
    (leg,) = legs(parse_arguments("", [*COMMON, *values]))
    return leg


def clips(*values: str, count: int = 12):
    leg = resolve(*values)
    options = replace(clip_options(leg.train, leg.model), size=64)
    made = MotionClips(options, count, seed=3)
    return [made[i] for i in range(count)]


def test_without_moment_sampling_frames_come_from_anywhere():
    plain, ablated = clips(count=60), clips("moment_sampling=false", count=60)
    assert [c.text for c in plain] == [c.text for c in ablated]  # the same scenes
    share = [torch.stack([c.relevant for c in some]).float().mean() for some in (plain, ablated)]
    assert share[0] > share[1] + 0.05


def test_without_oss_every_object_of_the_sentence_is_supervised():
    plain = clips("num_frames=2", count=80)
    ablated = clips("num_frames=2", "--selective", "false", count=80)
    more = 0
    for a, b in zip(plain, ablated, strict=True):
        assert torch.equal(a.frames, b.frames) and torch.equal(a.relevant, b.relevant)
        assert (a.target <= b.target).all()
        more += bool((a.target < b.target).any())
    assert more >= 2


@pytest.fixture(scope="module")
def batch():
    leg = resolve()
    options = replace(clip_options(leg.train, leg.model), size=128, block=32)
    made = MotionClips(options, 20, seed=3)
    chosen = [c for c in (made[i] for i in range(20)) if c.relevant.any() and not c.relevant.all()]
    return collate(chosen[:2])


def run(batch, *values: str):
    """(losses, output, network) of the stage with these values; the same weights every time."""
    leg = resolve(*values)
    torch.manual_seed(0)
    module = TrainingModule(TGL(leg.model, pretrained=False), "video", leg.train)
    with drawn_up_projections(module.model):
        torch.manual_seed(0)
        losses, output = module(batch)
        losses["loss"].backward()
    return losses, output, module.model


@pytest.fixture(scope="module")
def plain(batch):
    return run(batch)


def same(a, b) -> bool:
    return torch.allclose(a, b, atol=1e-4)


def test_without_tam_its_loss_alone_is_gone(batch, plain):
    losses, _, model = run(batch, "tam_weight=0")
    for name in ("dice", "focal", "present", "tam"):
        assert torch.equal(losses[name], plain[0][name])
    assert torch.isclose(losses["loss"], plain[0]["loss"] - plain[0]["tam"])
    # a gradient of zero, not none: processes of a run wait for every parameter's
    assert all(p.grad is not None and not p.grad.any() for p in model.tam.parameters())
    assert any(p.grad.any() for p in plain[2].tam.parameters())


def test_without_mfe_silent_frames_alone_change(batch, plain):
    _, output, _ = run(batch, "model.memory.mfe=false")
    assert same(output.masks[batch.relevant], plain[1].masks[batch.relevant])
    assert not same(output.masks[~batch.relevant], plain[1].masks[~batch.relevant])
    assert torch.equal(output.relevance, plain[1].relevance)


def test_a_bank_of_all_frames_changes_what_is_remembered_and_not_the_moments(batch, plain):
    _, output, _ = run(batch, "model.memory.bank=all")
    assert not same(output.masks, plain[1].masks)
    assert torch.equal(output.relevance, plain[1].relevance)
    first = batch.relevant[:, 0]  # a first frame of M+ has nothing to remember either way
    assert same(output.masks[first, 0], plain[1].masks[first, 0])


def test_without_two_paths_every_frame_takes_the_language_path(batch, plain):
    _, output, _ = run(batch, "model.memory.dual_path=false")
    assert not same(output.masks[~batch.relevant], plain[1].masks[~batch.relevant])
    assert torch.equal(output.relevance, plain[1].relevance)


def test_without_temporal_attention_its_parameters_are_gone(plain):
    leg = resolve("model.adapter.temporal=false")
    names = {name for name, _ in TGL(leg.model, pretrained=False).named_parameters()}
    gone = {name for name, _ in plain[2].named_parameters()} - names
    assert gone and all(".temporal." in name for name in gone)

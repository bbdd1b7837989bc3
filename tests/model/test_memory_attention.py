"""Our forward over the weights of SAM2's memory attention, against SAM2's own."""

import pytest
import torch
from networks import build, difference

from tgl_e2e.errors import InputError
from tgl_e2e.model import cpu
from tgl_e2e.model.features import FrameFeatures
from tgl_e2e.model.memory import Memories
from tgl_e2e.model.memory_attention import rope_turns

FRAMES = torch.tensor([9, 4])


def features(dim: int, side: int, count: int = 2) -> FrameFeatures:
    torch.manual_seed(2)
    return FrameFeatures(torch.randn(count, dim, side, side), ())


def memories(vision, side: int, banks: int = 2, entries: int = 8) -> Memories:
    torch.manual_seed(3)
    return Memories(
        torch.randn(banks, entries, (side // vision.memory_pool) ** 2, vision.sam.mem_dim),
        torch.randn(banks, entries, vision.dim),
        torch.arange(0, 2 * entries, 2).repeat(banks, 1),
    )


@pytest.mark.parametrize("entries", [1, 8])
@pytest.mark.parametrize("name", ["tiny", "hiera"])
def test_inference_reads_memory_as_sam2_does(name, entries, request):
    """With gradients SAM2's own forward runs, without them ours."""
    vision = request.getfixturevalue(name).vision
    side = vision.image_size // 16
    top, bank = features(vision.dim, side), memories(vision, side, entries=entries)
    own = vision.read_memory(top, FRAMES, bank).detach()
    with torch.no_grad():
        ours = vision.read_memory(top, FRAMES, bank)
    assert own.std() > 0.1
    assert difference(ours, own) < 1e-5


@torch.no_grad()
def test_frames_that_share_a_bank_see_what_each_sees_alone(hiera):
    vision = hiera.vision
    bank = memories(vision, 16, banks=1)
    top = features(vision.dim, 16, 3)
    for frames in (torch.tensor([20, 21, 25]), torch.tensor([1, 6, 30])):  # one set, and several
        together = vision.read_memory(top, frames, bank.expand(3))
        alone = [vision.read_memory(top[n : n + 1], frames[n : n + 1], bank) for n in range(3)]
        assert difference(together, torch.cat(alone)) < 1e-5


@torch.no_grad()
def test_feed_forward_layers_in_pieces_give_the_same(hiera, monkeypatch):
    vision = hiera.vision
    top, bank = features(vision.dim, 16), memories(vision, 16)
    whole = vision.read_memory(top, FRAMES, bank)
    monkeypatch.setattr(cpu, "VALUES_AT_ONCE", 100 * 2048)
    assert difference(vision.read_memory(top, FRAMES, bank), whole) < 1e-5


def test_turns_are_those_of_sam2(hiera):
    rope = hiera.vision.sam.memory_attention.layers[0].cross_attn_image
    turns = torch.view_as_complex(rope_turns(rope, 16, 1, torch.device("cpu")))
    assert difference(turns, rope.freqs_cis) < 1e-6


# --- pooled memories ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pooled():
    return build("tiny", **{"memory.pool": 2})


def test_pooled_memories_are_a_quarter_and_read_alike_in_training_and_inference(pooled, tiny):
    vision = pooled.vision
    top, bank = features(vision.dim, 8), memories(vision, 8)
    assert bank.features.shape[2] == 16
    trained = vision.read_memory(top, FRAMES, bank)
    trained.sum().backward()
    assert vision.sam.memory_attention.layers[0].cross_attn_image.v_proj.weight.grad.std() > 0
    pooled.zero_grad(set_to_none=True)
    with torch.no_grad():
        assert difference(vision.read_memory(top, FRAMES, bank), trained) < 1e-5


@torch.no_grad()
def test_pooling_of_even_memories_changes_nothing_but_their_places(pooled, tiny):
    """Memories that are the same everywhere: pooled or not, they weigh as much against pointers,
    and what is read differs by the places of keys alone."""
    top = features(tiny.vision.dim, 8)
    coarse = memories(pooled.vision, 8)
    coarse.features[:] = coarse.features[:, :, :1]
    fine = Memories(coarse.features.repeat(1, 1, 4, 1), coarse.pointers, coarse.frames)
    a = pooled.vision.read_memory(top, FRAMES, coarse)
    b = tiny.vision.read_memory(top, FRAMES, fine)
    assert difference(a, b) < 0.05 * b.std()


def test_a_pooled_network_trains_and_keeps_pooled_entries(pooled):
    frames = torch.randint(0, 255, (1, 4, 3, 128, 128), dtype=torch.uint8)
    output = pooled(
        frames, ["the red star"], torch.tensor([[True, False, True, False]]), torch.arange(4)[None]
    )
    output.masks.sum().backward()
    gradient = pooled.vision.sam.memory_attention.layers[0].cross_attn_image.k_proj.weight.grad
    assert gradient.abs().sum() > 0
    pooled.zero_grad(set_to_none=True)


def test_other_pools_are_refused():
    with pytest.raises(InputError, match=r"memory\.pool"):
        build("tiny", **{"memory.pool": 3})

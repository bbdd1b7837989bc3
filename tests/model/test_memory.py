"""The memory bank: what is stored, what is selected, and how it is placed."""

import pytest
import torch
from torch import nn

from tgl_e2e.model.features import FrameFeatures
from tgl_e2e.model.memory import Memories, MemoryBank, gather_entries, nearest


def entries(frames: list[list[int]], tokens: int = 4, width: int = 3, pointer: int = 6) -> Memories:
    """Banks whose every number is drawn, at given frames."""
    count = torch.tensor(frames).shape
    generator = torch.Generator().manual_seed(0)
    return Memories(
        torch.randn(*count, tokens, width, generator=generator),
        torch.randn(*count, pointer, generator=generator),
        torch.tensor(frames),
    )


def test_nearest_first_and_the_earlier_of_two_as_near():
    frames = torch.tensor([[0, 4, 6, 10, 20], [1, 2, 3, 4, 5]])
    found = nearest(frames, torch.tensor([5, 9]), 3)
    assert found.tolist() == [[1, 2, 0], [4, 3, 2]]  # 4 and 6 lie one away, 0 and 10 lie five away
    assert nearest(frames, torch.tensor([5, 9]), 9).shape == (2, 5)
    assert nearest(frames, torch.tensor([100, 0]), 1).tolist() == [[4], [0]]


def test_nearest_against_a_slow_search():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        frames = torch.randperm(60, generator=generator)[:20].sort().values
        query = int(torch.randint(60, (), generator=generator))
        slow = sorted(range(20), key=lambda i: (abs(int(frames[i]) - query), i))[:6]
        assert nearest(frames[None], torch.tensor([query]), 6)[0].tolist() == slow


def test_gather_takes_each_row_from_its_own_bank():
    values = torch.arange(12).view(2, 3, 2)
    found = gather_entries(values, torch.tensor([[2, 0], [1, 1]]))
    assert found.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_banks_and_entries():
    bank = entries([[1, 5], [2, 3]])
    assert bank.frames.shape == (len(bank), 2)
    joined = Memories.cat([bank[:1], bank[torch.tensor([1])]])
    stacked = Memories.cat([bank.entries(slice(0, 1)), bank.entries(slice(1, 2))], dim=1)
    for other in (joined, stacked):
        assert torch.equal(other.frames, bank.frames)
        assert torch.equal(other.features, bank.features)
        assert torch.equal(other.pointers, bank.pointers)


def test_one_bank_is_shared_without_a_copy_and_kept_by_a_clone():
    bank = entries([[1, 5]])
    shared = bank.expand(3)
    assert torch.equal(shared.frames, torch.tensor([[1, 5]] * 3))
    assert torch.equal(shared.pointers[2], bank.pointers[0])
    assert shared.features.data_ptr() == bank.features.data_ptr()
    kept = bank.entries(slice(0, 1)).clone()
    assert torch.equal(kept.features, bank.features[:, :1])
    assert kept.features.untyped_storage().nbytes() < bank.features.untyped_storage().nbytes()


# --- what a frame attends to ---------------------------------------------------------------------


class Recorder(nn.Module):
    """Stands in for memory attention and keeps what it is given."""

    def forward(self, curr, curr_pos, memory, memory_pos, num_obj_ptr_tokens):
        self.given = {
            "curr": curr,
            "curr_pos": curr_pos,
            "memory": memory,
            "memory_pos": memory_pos,
            "pointers": num_obj_ptr_tokens,
        }
        return curr


@pytest.fixture
def recorded(tiny, monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(tiny.vision.sam._modules, "memory_attention", recorder)

    def read(bank: Memories, frames: list[int]) -> dict:
        torch.manual_seed(0)
        features = FrameFeatures(torch.randn(len(frames), 128, 8, 8), ())
        with torch.enable_grad():  # where SAM2's own memory attention is called
            tiny.vision.read_memory(features, torch.tensor(frames), bank)
        return {**recorder.given, "top": features.top}

    return read


def expected_tokens(vision, bank: Memories, row: int, frame: int):
    """Memory tokens and their positions by plain loops (design: rank, then signed distance)."""
    sam = vision.sam
    where = sam.memory_encoder.position_encoding(torch.zeros(1, 64, 8, 8))[0].flatten(1).T
    frames = bank.frames[row].tolist()
    order = sorted(range(len(frames)), key=lambda i: (abs(frames[i] - frame), i))
    memory, position = [], []
    for rank, i in enumerate(order[:6]):
        memory.append(bank.features[row, i])
        position.append(where + sam.maskmem_tpos_enc[rank, 0, 0])
    for i in order[:16]:
        distance = max(-1.0, min(1.0, (frame - frames[i]) / 15))
        half = torch.arange(64, dtype=torch.float32)
        angle = distance / 10000 ** (2 * (half // 2) / 64)
        sine = torch.cat([angle.sin(), angle.cos()])  # SAM2's one-dimensional sine embedding
        placed = sam.obj_ptr_tpos_proj(sine)
        for part in bank.pointers[row, i].split(64):
            memory.append(part[None])
            position.append(placed[None])
    return torch.cat(memory), torch.cat(position)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3, 6, 16, 25])
def test_six_memories_by_rank_and_sixteen_pointers_by_distance(tiny, recorded, count):
    """Two banks, asked from before, amid and after their entries."""
    generator = torch.Generator().manual_seed(count)
    rows = [
        torch.randperm(60, generator=generator)[:count].sort().values.tolist() for _ in range(2)
    ]
    bank = entries(rows, tokens=64, width=64, pointer=128)
    for frames in ([0, 59], [30, 31], [100, rows[1][0]]):
        given = recorded(bank, frames)
        assert given["pointers"] == 2 * min(count, 16)  # each pointer makes two tokens
        assert len(given["memory"]) == 64 * min(count, 6) + 2 * min(count, 16)
        for row, frame in enumerate(frames):
            memory, position = expected_tokens(tiny.vision, bank, row, frame)
            assert torch.equal(given["memory"][:, row], memory)
            torch.testing.assert_close(given["memory_pos"][:, row], position, rtol=1e-5, atol=1e-5)


def test_conditioning_embedding_of_sam2_stays_unused(tiny, recorded):
    bank = entries([list(range(20))], tokens=64, width=64, pointer=128)
    before = recorded(bank, [30])["memory_pos"]
    last = tiny.vision.sam.maskmem_tpos_enc.data[6].clone()
    tiny.vision.sam.maskmem_tpos_enc.data[6] += 1
    try:
        assert torch.equal(recorded(bank, [30])["memory_pos"], before)
    finally:
        tiny.vision.sam.maskmem_tpos_enc.data[6] = last


def test_queries_are_the_frames_own_features(tiny, recorded):
    given = recorded(entries([[1], [2]], tokens=64, width=64, pointer=128), [5, 6])
    assert torch.equal(given["curr"], given["top"].flatten(2).permute(2, 0, 1))
    own = tiny.vision.sam.image_encoder.neck.position_encoding(given["top"])
    assert torch.equal(given["curr_pos"], own.flatten(2).permute(2, 0, 1))


@torch.no_grad()
def test_distance_counts_and_saturates(tiny, recorded):
    bank = entries([[10]], tokens=64, width=64, pointer=128)
    placed = {f: recorded(bank, [f])["memory_pos"][64:] for f in (0, 9, 11, 25, 26, 90)}
    # before and after are told apart
    assert not torch.allclose(placed[9], placed[11], atol=1e-3)
    assert not torch.allclose(placed[11], placed[25], atol=1e-3)
    assert torch.equal(placed[26], placed[25]) and torch.equal(placed[90], placed[25])


@torch.no_grad()
def test_no_memory_adds_the_embedding_of_no_memory(tiny):
    features = FrameFeatures(torch.randn(2, 128, 8, 8), ())
    found = tiny.vision.read_memory(features, torch.arange(2), None)
    assert torch.equal(found, features.top + tiny.vision.sam.no_mem_embed.view(1, -1, 1, 1))


# --- the bank of one expression ------------------------------------------------------------------


def write(bank: MemoryBank, frames) -> None:
    for frame in frames:
        bank.write(entries([[frame]]))


def test_bank_reads_what_was_written_in_order():
    bank = MemoryBank()
    assert len(bank) == 0
    write(bank, [2, 5, 11])
    assert len(bank) == 3 and bank.read().frames.tolist() == [[2, 5, 11]]
    assert bank.read(2).frames.tolist() == [[5, 11]]
    assert bank.read(9).frames.tolist() == [[2, 5, 11]]


def test_bank_takes_one_entry_at_a_time_in_time_order():
    bank = MemoryBank()
    write(bank, [5])
    write(bank, [5])  # a clip of a short video has a frame twice
    with pytest.raises(AssertionError):
        write(bank, [3])
    with pytest.raises(AssertionError):
        bank.write(entries([[6, 7]]))


@pytest.mark.parametrize("keep", [6, 16])
def test_prune_keeps_what_any_later_frame_can_select(keep):
    """A long video in blocks: after each, pruned and unpruned banks answer alike ever after."""
    generator = torch.Generator().manual_seed(0)
    whole, pruned = MemoryBank(), MemoryBank()
    for block in range(8):
        start = block * 32
        chosen = torch.randperm(32, generator=generator)[: [20, 0, 1, 32, 3, 9, 0, 12][block]]
        for bank in (whole, pruned):
            write(bank, (start + chosen.sort().values).tolist())
        if len(whole):
            for frame in range(start, start + 32):  # M- frames see entries to the end of the block
                found = [
                    bank.read()
                    .frames[0][nearest(bank.read().frames, torch.tensor([frame]), keep)[0]]
                    .tolist()
                    for bank in (whole, pruned)
                ]
                assert found[0] == found[1], (block, frame)
        pruned.prune(keep)
        assert len(pruned) == min(len(whole), keep)
    assert len(whole) == 77

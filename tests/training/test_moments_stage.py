"""The stage moments: the TAM alone, on what the frozen network made of clips that come again."""

from dataclasses import replace

import pytest
import torch
from networks import build, difference, trained_stage
from torch.utils.data import DataLoader, Dataset

from tgl_e2e.data.clips import collate
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.data import RepeatedClips, training_clips
from tgl_e2e.training.module import TrainingModule, clip_options

CONFIG = TrainConfig(
    dataset="motion", steps=6, batch_size=2, num_frames=4, distinct=4, attention_weight=0.5
)


@pytest.fixture(scope="module")
def model():
    small = {"vision.image_size": 64, "adapter.patch_sizes": [4, 2, 1], "block": 16}
    return build("tiny", **small, **{"tam.moves": 0.2})


@pytest.fixture(scope="module")
def batches(model):
    clips, steps = training_clips(CONFIG, clip_options(CONFIG, model.config))
    assert isinstance(clips, RepeatedClips) and steps == 6 and len(clips) == 12
    return list(DataLoader(clips, batch_size=2, collate_fn=collate))


def test_clips_come_again_without_their_frames(batches):
    names = [batch.names for batch in batches]
    assert names == names[:2] * 3 and names[0] != names[1]
    assert [batch.frames.numel() > 0 for batch in batches] == [True] * 2 + [False] * 4
    assert all(
        torch.equal(a.relevant, b.relevant) for a, b in zip(batches[:2], batches[2:4], strict=True)
    )


def test_what_is_kept_gives_the_losses_of_the_clip_itself(model, batches, monkeypatch):
    monkeypatch.setattr("tgl_e2e.model.tam.SEEN", 1.0)  # nothing is left to chance
    module, runs, encode = TrainingModule(model, "moments", CONFIG), [], model.encode
    monkeypatch.setattr(model, "encode", lambda *given: runs.append(1) or encode(*given))
    losses = []
    with trained_stage(model, "moments"):
        for batch in batches:
            found, output = module(batch)
            assert output is None
            losses.append(found)
        found["loss"].backward()
        assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("tam."))
        assert model.tam.moves.told.weight.grad.any() and model.tam.head.weight.grad.any()
    assert len(runs) == 2
    for first, again in zip(losses[:2], losses[2:4], strict=True):
        for name in ("tam", "attention", "loss"):
            assert difference(first[name], again[name]) < 1e-2
    assert difference(losses[0]["loss"], losses[1]["loss"]) > 1e-2  # another clip's are others
    with torch.no_grad():
        reported, output = module.eval()(batches[0])  # of validations: with masks
    assert output.masks.shape[:2] == (2, 4) and "dice" in reported


class Named(Dataset):
    """Clips of other frames and expressions under one name, as two crops of one picture are."""

    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return replace(self.clips[index], name="picture.jpg: the cat")


def test_clips_of_one_name_are_told_apart(model):
    plain = TrainConfig(**{**vars(CONFIG), "distinct": 0})
    clips, _ = training_clips(plain, clip_options(plain, model.config))
    loader = DataLoader(RepeatedClips(Named(clips), 4), batch_size=2, collate_fn=collate)
    module = TrainingModule(model, "moments", CONFIG)
    with trained_stage(model, "moments"):
        for batch in loader:
            module(batch)
    assert len(module._kept) == 4
    kept = [evidence.visual for evidence, _ in module._kept.values()]
    assert all(not torch.equal(kept[0], other) for other in kept[1:])


def test_what_is_kept_is_what_inference_has(monkeypatch):
    """No dropout outside of the TAM, which goes on in training mode."""
    small = {"vision.image_size": 64, "vision.trunk": "timm/resnet18", "block": 16}
    small |= {"adapter.patch_sizes": [4, 2, 1], "text.vocab_size": 800, "text.hidden_size": 32}
    small |= {"text.num_heads": 2, "text.intermediate_size": 48, "tam.moves": 0.2}
    model = build("lite", **small)
    module, encode, modes = TrainingModule(model, "moments", CONFIG), model.encode, []
    monkeypatch.setattr(
        model,
        "encode",
        lambda *given: modes.append(model.prior.learned.drop.training) or encode(*given),
    )
    clips, _ = training_clips(CONFIG, clip_options(CONFIG, model.config))
    with trained_stage(model, "moments"):
        assert model.prior.learned.drop.training
        module(collate([clips[0], clips[1]]))
        assert model.tam.training
    assert modes == [False]


def test_impossible_values_are_refused(model):
    blind = build("tiny", **{"tam.enabled": False})
    with pytest.raises(InputError, match=r"tam\.enabled"):
        TrainingModule(blind, "moments", TrainConfig())
    with pytest.raises(InputError, match="multiple of 4"):
        TrainConfig(distinct=6)

"""The stage nouns, from a folder in COCO's format to a network that recognises what it saw."""

import pytest
import torch
from networks import build
from small_coco import write_coco

from tgl_e2e.data.clips import ClipOptions, collate
from tgl_e2e.data.coco import read_coco
from tgl_e2e.data.pictures import PictureClips
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.data import training_clips
from tgl_e2e.training.module import TrainingModule

VALUES = {"dataset": "coco", "steps": 40, "batch_size": 8, "num_frames": 1, "static": True}
SMALL = {
    "vision.image_size": 64,
    "vision.trunk": "timm/resnet18",
    "vision.prior_dim": 32,
    "adapter.patch_sizes": [4, 2, 1],
    "text.vocab_size": 800,
    "text.hidden_size": 32,
    "text.num_heads": 2,
    "text.intermediate_size": 48,
}


@pytest.fixture
def module():
    module = TrainingModule(build("lite", **SMALL), "nouns", TrainConfig(**VALUES))
    return module.train()


def test_nouns_are_learned_from_outlined_instances(module, tmp_path):
    write_coco(tmp_path)
    config = TrainConfig(**VALUES, root=str(tmp_path))
    clips, steps = training_clips(config, ClipOptions(num_frames=1, size=64, static=True))
    assert steps == 40 and len(clips) == 320
    batch = collate([clips[i] for i in range(8)])  # overfit: random weights see hardly more
    optimizer = torch.optim.AdamW(module.parameter_groups()[0]["params"], lr=5e-3)
    rows = []
    for _ in range(60):
        losses, output = module(batch)
        assert output is None and batch.nouns == ("cat", "dog")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        rows.append((losses["loss"].item(), losses["hit"].item()))
    first, last = (torch.tensor(part).mean(0) for part in (rows[:5], rows[-5:]))
    assert last[0] < 0.5 * first[0] and last[1] > first[1] + 0.2, rows


def test_what_knows_no_nouns_is_refused(module, tmp_path):
    write_coco(tmp_path)
    clips = PictureClips(read_coco(tmp_path, "train"), ClipOptions(num_frames=1, size=64), 2, 0)
    clip = clips[0]
    clip.labels = {}
    with pytest.raises(InputError, match="dataset=coco"):
        module(collate([clip]))

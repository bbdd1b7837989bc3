"""SAMWISE's adapter, prompt, windows and padding, and its checkpoints, by its own numbers."""

import argparse
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import RobertaConfig, RobertaModel

from infer import main as infer
from tgl_e2e import TGL, VideoSegmenter
from tgl_e2e.data.clips import Clip, collate
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.errors import InputError
from tgl_e2e.evaluate import main as evaluate
from tgl_e2e.fit import Fit
from tgl_e2e.model.build import DEFAULT_TOKENIZER
from tgl_e2e.model.samwise import SamwiseAdapter, SamwisePrompt, time_in_window
from tgl_e2e.model.text import TextTokens
from tgl_e2e.tools.samwise import main
from tgl_e2e.training.arguments import legs, parse_arguments
from tgl_e2e.training.module import TrainingModule, build_model

SHARED = Path(__file__).parents[3] / "shared" / "samwise"
needs_reference = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the reference numbers")


# --- modules ----------------------------------------------------------------------------------


@pytest.fixture
def adapter() -> SamwiseAdapter:
    torch.manual_seed(0)
    adapter = SamwiseAdapter(12, 20, 16, 4, 2).eval()
    for module in adapter.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    return adapter


@torch.no_grad()
def test_padding_and_neighbours_in_the_batch_change_nothing(adapter):
    visual, text = torch.randn(2, 3, 4, 4, 12), torch.randn(2, 5, 20)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    seen, said = adapter(visual, text, mask, torch.zeros(2, 3))
    alone, its = adapter(visual[1:], text[1:, :3], mask[1:, :3], torch.zeros(1, 3))
    assert torch.allclose(seen[1:], alone, atol=1e-5)
    assert torch.allclose(said[1:, :3], its, atol=1e-5)
    assert (seen >= visual).all() and not torch.equal(seen, visual)  # a ReLU is added


def test_batchnorm_keeps_its_statistics_in_training(adapter):
    before = adapter.visual_down[1].running_mean.clone()
    adapter.train()
    adapter(torch.randn(1, 2, 4, 4, 12), torch.randn(1, 3, 20), torch.ones(1, 3).bool(), None)
    assert torch.equal(adapter.visual_down[1].running_mean, before)
    assert adapter.temporal.attention.training  # whose dropout is meant


def test_time_runs_from_the_first_frame_of_the_window_to_two_pi():
    time = time_in_window(4, 8)
    assert torch.allclose(time[:, 0], torch.tensor([1.0, 0.0, -1.0, 0.0]), atol=1e-5)  # sin
    assert torch.allclose(time[:, 1], torch.tensor([0.0, -1.0, 0.0, 1.0]), atol=1e-5)  # cos


@torch.no_grad()
def test_the_prompt_is_of_cls_alone():
    prompt = SamwisePrompt(20, 16)
    text = torch.randn(2, 4, 20)
    other = torch.cat([text[:, :1], torch.randn(2, 3, 20)], dim=1)
    assert prompt(text, None).shape == (2, 1, 16)
    assert torch.equal(prompt(text, None), prompt(other, None))


# --- padding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(97, 161), (161, 97), (64, 64), (1, 300)])
def test_frames_are_padded_and_masks_cut_out_again(size):
    """As torchvision resizes a PIL image and SAM postprocesses masks."""
    from torchvision.transforms.functional import pil_to_tensor, resize

    fit = Fit(64, (124, 116, 104))
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    square = fit.shrink(rgb)
    height, width = fit.inside(size)
    assert max(height, width) == 64 and square.shape == (3, 64, 64)
    expected = pil_to_tensor(resize(Image.fromarray(rgb), [height, width], antialias=True))
    inside = square[:, :height, :width].int()
    assert (inside - expected.int()).abs().max() <= 1
    assert (square[:, height:] == torch.tensor([124, 116, 104])[:, None, None]).all()
    assert (square[:, :, width:] == torch.tensor([124, 116, 104])[:, None, None]).all()

    logits = torch.randn(2, 16, 16)
    whole = torch.nn.functional.interpolate(logits[:, None], (64, 64), mode="bilinear")
    cut = whole[..., :height, :width]
    theirs = torch.nn.functional.interpolate(cut, size, mode="bilinear")[:, 0] > 0
    assert (fit.to_size(logits, size) == theirs.numpy()).all()


# --- whole networks ---------------------------------------------------------------------------


def value(seed: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Any tensor of the reference: a function of seed and name."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_var"):
        return torch.tensor(rng.uniform(0.5, 1.5, shape)).float()
    z = rng.standard_normal(shape).astype(np.float32)
    if name.endswith("positional_encoding_gaussian_matrix"):
        pass
    elif len(shape) < 2:
        z = 0.1 * z + name.endswith("weight")
    elif "embed" in name and not name.endswith("proj.weight"):
        z = 0.1 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return torch.tensor(z).float()


def published(reference: dict) -> dict[str, torch.Tensor]:
    seed = reference["seed"]
    state = {name: value(seed, name, tuple(s)) for name, s in reference["tensors"].items()}
    decoder = "sam.sam_mask_decoder."
    state[f"{decoder}pred_obj_score_head.layers.2.bias"][:] = reference["presence_bias"]
    state[f"{decoder}output_hypernetworks_mlps.0.layers.2.weight"] *= 8
    return state


def write(folder: Path, reference: dict, state: dict[str, torch.Tensor], prefix: str = "") -> Path:
    """FILE.pth as it is published, and a folder of RoBERTa beside it."""
    content = {
        "model": {f"{prefix}{name}": tensor for name, tensor in state.items()},
        "optimizer": {"state": {}},
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-4, HSA=True, sam2_version="tiny"),
    }
    torch.save(content, folder / "file.pth")
    roberta = RobertaModel(RobertaConfig(**reference["roberta"]), add_pooling_layer=False)
    roberta.load_state_dict(
        {
            name: value(reference["seed"], f"roberta.{name}", tuple(tensor.shape))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in roberta.state_dict().items()
        }
    )
    roberta.save_pretrained(folder / "roberta")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(DEFAULT_TOKENIZER / name, folder / "roberta")
    return folder / "file.pth"


def convert(folder: Path, *more: str) -> int:
    small = ["--architecture", "sam2_hiera_t", "--image-size", "128"]
    roberta = ["--roberta", str(folder / "roberta"), "--output", str(folder / "out")]
    return main([str(folder / "file.pth"), *roberta, *small, *more])


@needs_reference
@pytest.mark.parametrize(("name", "prefix"), [("", "module."), ("absent", "")])
def test_masks_are_those_of_samwises_own_code(tmp_path, monkeypatch, capsys, name, prefix):
    reference = json.loads((SHARED / name / "reference.json").read_text())
    write(tmp_path, reference, published(reference), prefix)
    assert convert(tmp_path) == 0
    said = capsys.readouterr().out
    assert "567 tensors" in said and "no TAM" in said and "left" not in said
    model = TGL.from_pretrained(tmp_path / "out")
    numbers = np.load(SHARED / name / "reference.npz")
    ids = torch.tensor(numbers["input_ids"]).view(1, -1)
    every = torch.ones_like(ids, dtype=torch.bool)
    monkeypatch.setattr(model.text, "tokenize", lambda texts: TextTokens(ids, every, every))
    segmenter = VideoSegmenter(model, keep_logits=True)
    (found,) = segmenter.segment(numbers["frames"], [reference["text"]], "all")
    ours, theirs = found.logits.astype(np.float32), numbers["logits"].astype(np.float32)
    assert np.abs(ours - theirs).max() < 0.05
    assert ((ours > 0) == (theirs > 0)).all(axis=(1, 2)).sum() == len(theirs)


@needs_reference
def test_a_checkpoint_without_temporal_attention_and_presence(tmp_path, capsys):
    """As SAMWISE was trained on single pictures."""
    reference = json.loads((SHARED / "reference.json").read_text())
    gone = (".hsa.", "norm_pre_HSA", "spatial_pos_embed", "obj_score", "no_obj_ptr")
    state = {
        name: tensor
        for name, tensor in published(reference).items()
        if not any(part in name for part in gone)
    }
    state["text_encoder.model.some.weight"] = torch.zeros(2)
    state["conditional_memory_encoder.decision_token.weight"] = torch.zeros(1, 256)
    write(tmp_path, reference, state)
    assert convert(tmp_path) == 0
    said = capsys.readouterr().out
    assert "fresh: temporal attention" in said and "no presence head" in said
    assert "1 tensors text_encoder" in said and "1 tensors conditional_memory_encoder" in said
    model = TGL.from_pretrained(tmp_path / "out")
    frames = np.random.default_rng(0).integers(0, 256, (10, 97, 161, 3), dtype=np.uint8)
    (found,) = VideoSegmenter(model).segment(frames, ["the dog"], "all")
    assert found.mask(3).shape == (97, 161) and found.relevance.tolist() == [1.0] * 10
    for moments in ("auto", "top-k:4"):
        with pytest.raises(InputError, match="none: use 'all' or give intervals, or train one"):
            VideoSegmenter(model).segment(frames, ["the dog"], moments)


@needs_reference
def test_what_is_no_checkpoint_of_samwise_is_named(tmp_path, capsys):
    reference = json.loads((SHARED / "reference.json").read_text())
    state = published(reference)
    write(tmp_path, reference, state)

    def refused(*words: str, more: tuple[str, ...] = ()) -> None:
        capsys.readouterr()
        assert convert(tmp_path, *more) == 2
        error = capsys.readouterr().err
        assert all(word in error for word in words) and error.count("\n") == 1, error
        assert not (tmp_path / "out").exists()

    refused("--architecture", more=("--architecture", "sam2_hiera_b+"))
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "file.pth")
    refused("no cmt_adapters")
    torch.save({"model": state, "args": Path("x")}, tmp_path / "file.pth")  # a class of its own
    refused("not a readable checkpoint")
    (tmp_path / "file.pth").write_bytes(b"nothing")
    refused("not a readable checkpoint")
    (tmp_path / "file.pth").unlink()
    refused("no such file")


@needs_reference
def test_a_training_begins_from_it(tmp_path):
    """A TAM is added, which begins afresh; adapters are kept and learn, BatchNorm's statistics
    stay."""
    reference = json.loads((SHARED / "reference.json").read_text())
    write(tmp_path, reference, published(reference))
    assert convert(tmp_path) == 0
    options = ["--config", "samwise-b", "--stage", "video", "--init", str(tmp_path / "out")]
    (leg,) = legs(parse_arguments("", [*options, "steps=2", "num_frames=4"]))
    assert leg.model.tam.enabled and leg.model.adapter.kind == "samwise"
    model = build_model(leg.model, leg.init)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = TGL.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.items())
    module = TrainingModule(model, "video", leg.train).train()
    optimizer = torch.optim.SGD(module.parameter_groups(), lr=1e-3)
    frames = torch.randint(0, 256, (1, 4, 3, 128, 128), dtype=torch.uint8)
    target = torch.zeros(1, 4, 128, 128, dtype=torch.bool)
    target[:, :3, 30:70, 40:90] = True
    clip = Clip(
        "x",
        frames[0],
        reference["text"],
        torch.arange(4),
        torch.tensor([True, True, True, False]),
        target[0],
    )
    losses, output = module(collate([clip]))
    losses["loss"].backward()
    optimizer.step()
    assert output.relevance.shape == (1, 4)
    moved = {n for n, x in model.state_dict().items() if not torch.equal(x, before[n])}
    assert any(name.startswith("tam.") for name in moved)
    assert "adapters.0.visual_up.0.weight" in moved and "prompt.layers.2.weight" in moved
    assert not any("running" in name or "image_encoder" in name for name in moved)


@needs_reference
def test_every_frame_counts_unless_moments_are_given(tmp_path, capsys, caplog):
    """infer.py and evaluate, with a network that has no TAM."""
    reference = json.loads((SHARED / "reference.json").read_text())
    write(tmp_path, reference, published(reference))
    assert convert(tmp_path) == 0
    recording = Recording((48, 48), 24)
    write_split(tmp_path, "valid_u", videos=1, seed=5, level="easy", recording=recording)
    where = ["--checkpoint", str(tmp_path / "out"), "--root", str(tmp_path), "--no-masks"]
    command = [*where, "--dataset", "mevis", "--device", "cpu", "--output", str(tmp_path / "run")]
    assert evaluate(command) == 0
    assert "no TAM: every frame counts" in caplog.text
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["config"]["arguments"]["moments"] == "all"
    assert metrics["overall"]["top1"] is None
    assert evaluate([*command[:-1], str(tmp_path / "auto"), "--moments", "auto"]) == 2
    assert "none: use 'all' or give intervals" in capsys.readouterr().err

    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(3):
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(frames / f"{number}.png")
    results = tmp_path / "results"
    command = [str(frames), "the dog", "--checkpoint", str(tmp_path / "out")]
    assert infer([*command, "--output", str(results)]) == 0
    assert "no TAM: every frame counts" in capsys.readouterr().err
    found = json.loads((results / "result.json").read_text())
    assert found["num_frames"] == 3

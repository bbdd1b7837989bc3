"""SAMWISE's adapter, prompt, windows and padding, and its checkpoints, by its own numbers."""

import argparse
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import build
from PIL import Image
from transformers import RobertaConfig, RobertaModel

from infer import main as infer
from tgl_e2e import TGL, VideoSegmenter
from tgl_e2e.config import VisionConfig
from tgl_e2e.data.clips import Clip, collate
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.errors import InputError
from tgl_e2e.evaluate import main as evaluate
from tgl_e2e.fit import Fit
from tgl_e2e.model import cpu
from tgl_e2e.model.build import DEFAULT_TOKENIZER, build_sam
from tgl_e2e.model.samwise import ConditionalMemory, SamwiseAdapter, SamwisePrompt, time_in_window
from tgl_e2e.model.text import TextTokens
from tgl_e2e.model.trained import is_trained
from tgl_e2e.model.vision import Vision
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


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_products_and_strips_are_torchs_layers(adapter, monkeypatch, at_once):
    """Convolutions, BatchNorm and attention as one would write them down."""
    monkeypatch.setattr(cpu, "VALUES_AT_ONCE", at_once)
    visual, text = torch.randn(2, 3, 8, 4, 12), torch.randn(2, 5, 20)
    x = adapter.visual_down(visual.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    x, words = x.unflatten(0, (2, 3)), adapter.text_down(text)
    mean = x.mean(dim=1).flatten(1, 2)
    x = (x + adapter.temporal(x)).flatten(1, 3)

    def attend(heads, query, key):
        return torch.nn.MultiheadAttention.forward(heads, query, key, key)[0]

    x = x * attend(adapter.visual_attends_text.attention, x, words)
    x = adapter.visual_up(x.unflatten(1, (3, 8, 4)).flatten(0, 1).permute(0, 3, 1, 2))
    expected = visual + x.permute(0, 2, 3, 1).unflatten(0, (2, 3))
    gated = words * attend(adapter.text_attends_visual.attention, words, mean)
    seen, said = adapter(visual, text, torch.ones(2, 5).bool(), torch.zeros(2, 3))
    assert torch.allclose(seen, expected, atol=1e-5)
    assert torch.allclose(said, text + adapter.text_up(gated), atol=1e-5)


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


def test_the_prompt_is_of_cls_alone_until_verbs_have_learned():
    torch.manual_seed(0)
    prompt, with_verbs = SamwisePrompt(20, 16), SamwisePrompt(20, 16, verbs=True)
    with_verbs.load_state_dict(prompt.state_dict(), strict=False)
    text, verbs = torch.randn(2, 4, 20), torch.tensor([[False, True, True, False]] * 2)
    other = torch.cat([text[:, :1], torch.randn(2, 3, 20)], dim=1)
    assert prompt(text, None).shape == (2, 1, 16)
    assert torch.equal(prompt(text, None), prompt(other, None))
    assert torch.equal(prompt(text, None), with_verbs(other, verbs))
    with_verbs(text, verbs).square().sum().backward()
    with torch.no_grad():
        with_verbs.verbs.weight -= 0.1 * with_verbs.verbs.weight.grad
        assert not torch.allclose(with_verbs(text, verbs), with_verbs(other, verbs))
        words = torch.cat([text[:, :3], other[:, 3:]], dim=1)  # the last is no verb
        assert torch.equal(with_verbs(text, verbs), with_verbs(words, verbs))


# --- conditional memory encoding ----------------------------------------------------------------


@torch.no_grad()
def test_the_decision_is_that_of_a_block_with_norms_behind():
    torch.manual_seed(0)
    conditional = ConditionalMemory(16).eval()
    for parameter in conditional.parameters():
        parameter.normal_(std=0.5)
    pointers, tokens = torch.randn(2, 40, 16)
    block = conditional.block
    x = torch.stack([conditional.token.weight.expand(40, -1), pointers, tokens], dim=1)
    x = block.norm1(x + block.self_attn(x, x, x)[0])
    x = block.norm2(x + block.linear2(block.linear1(x).relu()))
    logits = conditional.head(x[:, 0])
    votes = conditional(pointers, tokens)
    assert votes.any() and not votes.all()
    assert torch.equal(votes, logits[:, 1] > logits[:, 0])


@pytest.fixture(scope="module")
def conditional() -> TGL:
    """A network of random weights whose memory may take another object."""
    return build("tiny", **{"memory.conditional": True, "block": 16, "window": 4})


def vote(model: TGL, logit: float) -> None:
    torch.nn.init.zeros_(model.conditional.head.weight)
    model.conditional.head.bias.data = torch.tensor([0.0, logit])


def remembered(model: TGL, monkeypatch, texts: int = 1) -> tuple[dict[int, int], list]:
    """Widths of the masks that are written, by frame, and the segmentations."""
    written, write = {}, Vision.write_memory

    def watched(self, features, prediction, frames, *more):
        for frame in frames.tolist():
            written[frame] = prediction.masks.shape[-1]
        return write(self, features, prediction, frames, *more)

    monkeypatch.setattr(Vision, "write_memory", watched)
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 48, 3), dtype=np.uint8)
    segmenter = VideoSegmenter(model, keep_logits=True)
    found = segmenter.segment(frames, [f"the cat {n}" for n in range(texts)], "all")
    monkeypatch.setattr(Vision, "write_memory", write)
    return written, found


def test_memory_takes_the_other_object_at_most_every_third_frame(conditional, monkeypatch):
    """Where the vote is for it, ten times as certain and nowhere else; not in the first frames."""
    side = conditional.vision.image_size
    vote(conditional, -1.0)
    _, before = remembered(conditional, monkeypatch)
    vote(conditional, 1.0)
    written, after = remembered(conditional, monkeypatch)
    large = [frame for frame, width in written.items() if width == side]
    assert large == [5, 8, 11]
    same = np.abs(before[0].logits - after[0].logits).max(axis=(1, 2)) < 1e-3
    assert same[:6].all() and not same[6:].all()  # frame 5 itself keeps the mask with memory


def test_what_memory_takes_instead(conditional):
    vision, count = conditional.vision, 3
    torch.manual_seed(0)
    with torch.no_grad():
        prefix = conditional.encode_prefix(torch.randint(0, 256, (3, 3, 128, 128)).byte())
        features = conditional.extract_plain(prefix)
        prompts = torch.randn(count, 1, vision.dim)
        with_memory = vision.decode(features.top + 1, features, prompts)
        alone = vision.decode(vision.read_memory(features, None, None), features, prompts)
        vote(conditional, 1.0)
        due = torch.tensor([True, False, True])
        taken, other = conditional.conditional.reconsider(
            vision, features, with_memory, prompts, due
        )
    size = (vision.image_size,) * 2
    mine, theirs = (
        torch.nn.functional.interpolate(x.gated()[:, None], size, mode="bilinear")[:, 0]
        for x in (with_memory, alone)
    )
    assert torch.equal(other, due) and (theirs > 0).any()
    expected = torch.where((theirs > 0) & due[:, None, None], 10 * theirs, mine)
    assert torch.allclose(taken.gated(), expected, atol=1e-3)
    assert torch.equal(taken.pointers, with_memory.pointers)


def test_each_expression_decides_for_itself(conditional, monkeypatch):
    """Side by side or alone: the same masks."""
    vote(conditional, 1.0)
    _, both = remembered(conditional, monkeypatch, texts=2)
    (alone,) = remembered(conditional, monkeypatch)[1]
    assert np.abs(both[0].logits - alone.logits).max() < 1e-2


# --- padding ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def padding() -> Vision:
    sam = build_sam(VisionConfig(architecture="sam2_hiera_t", image_size=64))
    return Vision(sam, padded=True)


@pytest.mark.parametrize("size", [(97, 161), (161, 97), (64, 64), (1, 300)])
def test_frames_are_padded_and_masks_cut_out_again(padding, size):
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

    assert padding.fill == fit.fill
    normal = padding.preprocess(square[None])[0]
    assert not normal[:, height:].any() and not normal[:, :, width:].any()  # as SAM's: zero
    normal = normal * padding.std + padding.mean
    assert torch.allclose(normal[:, :height, :width] * 255, inside.float(), atol=0.51)

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


def decider() -> dict[str, torch.Tensor]:
    """CME's tensors, by SAMWISE's names and shapes."""
    shapes = {
        "decision_token.weight": (1, 256),
        "decision_class_head.weight": (2, 256),
        "decision_class_head.bias": (2,),
        "transformerBlock.self_attn.in_proj_weight": (768, 256),
        "transformerBlock.self_attn.in_proj_bias": (768,),
        "transformerBlock.self_attn.out_proj.weight": (256, 256),
        "transformerBlock.self_attn.out_proj.bias": (256,),
        "transformerBlock.linear1.weight": (128, 256),
        "transformerBlock.linear1.bias": (128,),
        "transformerBlock.linear2.weight": (256, 128),
        "transformerBlock.linear2.bias": (256,),
    }
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= {f"transformerBlock.{norm}.{part}": (256,) for part in ("weight", "bias")}
    names = {f"conditional_memory_encoder.{name}": shape for name, shape in shapes.items()}
    return {name: value(1, name, shape) for name, shape in names.items()}


def write(
    folder: Path,
    reference: dict,
    state: dict[str, torch.Tensor],
    prefix: str = "",
    args: dict | None = None,
) -> Path:
    """FILE.pth as it is published, and a folder of RoBERTa beside it."""
    content = {
        "model": {f"{prefix}{name}": tensor for name, tensor in state.items()},
        "optimizer": {"state": {}},
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-4, HSA=True, sam2_version="tiny", **(args or {})),
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
    state |= decider()
    write(tmp_path, reference, state, args={"use_cme_head": False})
    assert convert(tmp_path) == 0
    said = capsys.readouterr().out
    assert "fresh: temporal attention" in said and "no presence head" in said
    assert "1 tensors text_encoder" in said and "no conditional memory encoding" in said
    model = TGL.from_pretrained(tmp_path / "out")
    frames = np.random.default_rng(0).integers(0, 256, (10, 97, 161, 3), dtype=np.uint8)
    (found,) = VideoSegmenter(model).segment(frames, ["the dog"], "all")
    assert found.mask(3).shape == (97, 161) and found.relevance.tolist() == [1.0] * 10
    for moments in ("auto", "top-k:4"):
        with pytest.raises(InputError, match="none: use 'all' or give intervals, or train one"):
            VideoSegmenter(model).segment(frames, ["the dog"], moments)


@needs_reference
def test_a_checkpoint_with_conditional_memory_encoding(tmp_path, capsys):
    reference = json.loads((SHARED / "reference.json").read_text())
    theirs = decider()
    write(tmp_path, reference, published(reference) | theirs, args={"use_cme_head": True})
    assert convert(tmp_path) == 0
    said = capsys.readouterr().out
    assert "582 tensors" in said and "2 tensors conditional_memory_encoder.* (a norm" in said
    model = TGL.from_pretrained(tmp_path / "out")
    assert model.config.memory.conditional and model.config.prompt.kind == "samwise"
    name = "conditional_memory_encoder.transformerBlock.norm3.weight"  # the last of its block
    assert torch.equal(model.conditional.block.norm2.weight, theirs[name])
    assert not any(
        is_trained(name, "video", model.config)
        for name in model.state_dict()
        if name.startswith("conditional.")
    )
    assert convert(tmp_path, "--cme", "off") == 0
    assert not TGL.from_pretrained(tmp_path / "out").config.memory.conditional


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
    assert leg.model.prompt.kind == "samwise-verbs"
    (kept,) = legs(parse_arguments("", [*options, "model.prompt.kind=samwise"]))
    assert kept.model.prompt.kind == "samwise" and kept.model.tam.enabled
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
    assert "prompt.verbs.weight" in moved and not before["prompt.verbs.weight"].any()
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

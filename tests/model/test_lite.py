"""The preset `lite` with random weights: timm trunk, BERT, semantic prior, bases in own files."""

import numpy as np
import pytest
import timm
import torch
from networks import build, difference, drawn_up_projections, trained_stage
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

from tgl_e2e import TGL, TGLConfig, VideoSegmenter
from tgl_e2e.errors import InputError
from tgl_e2e.model.checkpoint import BASES_NAME, WEIGHTS_NAME
from tgl_e2e.model.trained import is_base, is_trained

SMALL = {
    "vision.image_size": 64,
    "vision.trunk": "timm/resnet18",
    "adapter.patch_sizes": [4, 2, 1],
    "text.vocab_size": 800,
    "text.hidden_size": 32,
    "text.num_heads": 2,
    "text.intermediate_size": 48,
    "block": 16,
}
TEXT = ["the cat that jumps", "a dog"]


@pytest.fixture(scope="module")
def model() -> TGL:
    model = build("lite", **SMALL)
    model.prior.class_embeddings.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8, generator=generator)


def adapted(model, frames, texts=TEXT):
    prefix = model.encode_prefix(frames.flatten(0, 1))
    times = torch.arange(frames.shape[1])[None].expand(len(texts), -1) / 16
    with torch.no_grad():
        return model.extract_adapted(prefix, model.text.tokenize(texts), times), prefix


def test_untrained_prior_and_adapters_change_nothing(frames):
    model = build("lite", **SMALL)
    with torch.no_grad():
        for layer in (model.prior.project, model.prior.learned.top, model.prior.learned.last):
            layer.weight.zero_()
            layer.bias.zero_()
        clip, prefix = adapted(model, frames)
        plain = model.extract_plain(prefix)
    assert difference(clip.features.top, plain.top) < 1e-5


def test_the_prior_depends_on_the_expression_and_stays_out_of_the_plain_path(model, frames):
    clip, prefix = adapted(model, frames)
    other, _ = adapted(model, frames, ["a dog", "the cat that jumps"])
    assert difference(clip.features.top, other.features.top) > 1e-6
    assert difference(clip.features.top, model.extract_plain(prefix).top) > 1e-6


def test_frames_that_expressions_share_give_what_they_give_alone(model, frames):
    shared, _ = adapted(model, frames[:1])
    alone = [adapted(model, frames[:1], [text])[0] for text in TEXT]
    together = torch.cat([clip.features.top for clip in alone])
    assert difference(shared.features.top, together) < 1e-4


@pytest.mark.parametrize("stage", ["image", "video"])
def test_bases_are_frozen_and_everything_else_is_trained(model, frames, stage):
    model.vision.sam.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(0.0)
    relevant = torch.tensor([[True, True, False, True], [False, True, False, False]])
    count = 1 if stage == "image" else 4
    with drawn_up_projections(model), trained_stage(model, stage):
        positions = torch.arange(4)[None].expand(2, -1)[:, :count]
        output = model(frames[:, :count], TEXT, relevant[:, :count], positions)
        loss = output.masks.square().mean() + output.presence.square().mean()
        if output.relevance is not None:
            loss = loss + output.relevance.square().mean()
        loss.backward()
        for name, parameter in model.named_parameters():
            trained = is_trained(name, stage, model.config)
            assert parameter.requires_grad == trained, name
            assert trained == (parameter.grad is not None), name
    assert is_base("vision.sam.image_encoder.trunk.net.conv1.weight", model.config)
    assert is_trained("vision.sam.image_encoder.neck.convs.0.conv.weight", stage, model.config)
    assert is_trained("prior.project.weight", stage, model.config)


def test_a_video_is_segmented(model, frames):
    video = np.concatenate([clip.permute(0, 2, 3, 1).numpy() for clip in frames] * 3)
    found = VideoSegmenter(model).segment(video, TEXT, moments=[(2, 9)])
    assert [len(one.rle) for one in found] == [24, 24]


def test_bases_lie_in_files_that_training_leaves_alone(model, tmp_path, frames):
    storages = [value.data_ptr() for value in model.state_dict().values() if value.numel()]
    assert len(storages) == len(set(storages))  # no tensor under two names
    model.save_pretrained(tmp_path)
    files = [tmp_path / BASES_NAME.format(part) for part in ("prior", "text", "vision")]
    before = [file.read_bytes() for file in files]
    assert not any(is_base(name, model.config) for name in load_file(tmp_path / WEIGHTS_NAME))
    again = TGL.from_pretrained(tmp_path)
    one, two = adapted(model, frames)[0], adapted(again, frames)[0]
    assert torch.equal(one.features.top, two.features.top)
    with torch.no_grad():
        again.adapters[0].visual_up.weight.add_(1)
    again.save_pretrained(tmp_path)
    assert [file.read_bytes() for file in files] == before


def test_a_base_file_that_is_missing_is_named(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / BASES_NAME.format("text")).unlink()
    with pytest.raises(InputError, match=r"text\.bert"):
        TGL.from_pretrained(tmp_path)


def test_bert_brings_its_own_tokenizer_and_sizes(tmp_path):
    config = BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=30,
    )
    torch.manual_seed(0)
    bert = BertModel(config)
    bert.save_pretrained(tmp_path / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "cat", "that", "jump", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "trunk.safetensors")
    bases = {
        "text.base": str(tmp_path / "bert"),
        "vision.base": str(tmp_path / "trunk.safetensors"),
    }
    values = {**SMALL, **bases}
    model = TGL(TGLConfig.from_preset("lite").with_values(**values)).eval()
    assert model.config.text.architecture == "bert" and model.text.max_tokens == 30
    tokens = model.text.tokenize(["the CAT that jumps", "a cat"])
    assert tokens.ids[0].tolist() == [2, 5, 7, 8, 9, 10, 3]  # case means nothing to it
    assert tokens.verb_mask[0].tolist() == [False] * 4 + [True, True, False]
    with torch.no_grad():
        own = bert.eval()(input_ids=tokens.ids, attention_mask=tokens.mask.long())
        found = model.text.layers(model.text.embed(tokens), tokens.mask, 0, 6)
    assert difference(found[tokens.mask], own.last_hidden_state[tokens.mask]) < 1e-5
    weight = tokens.mask[..., None].float()
    mean = (own.last_hidden_state * weight).sum(1) / weight.sum(1)
    assert difference(model.text.sentence_embedding(tokens), mean) < 1e-5
    model.save_pretrained(tmp_path / "checkpoint", include_frozen=True)
    again = TGL.from_pretrained(tmp_path / "checkpoint")
    assert again.text.tokenize(["the cat"]).ids.tolist() == [[2, 5, 7, 3]]
    assert again.config.text.base is None  # a folder of this machine
    assert torch.equal(again.prior.class_embeddings, model.prior.class_embeddings)
    assert model.prior.class_embeddings.any()


def test_a_prior_without_a_classifier_is_refused():
    with pytest.raises(InputError, match=r"vision\.trunk"):
        TGLConfig.from_preset("tiny").with_values(**{"vision.prior": True})

"""The semantic prior: the classifier's cells, what is learned beyond them, and how both enter."""

import pytest
import torch
from networks import build, drawn_up_projections, trained_stage
from test_lite import SMALL

from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.clips import Clip, collate
from tgl_e2e.errors import InputError
from tgl_e2e.model.trained import is_trained
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.losses import similarity_loss
from tgl_e2e.training.module import TrainingModule, build_model

NAMES = ["the cat", "an umbrella", "vehicle"]


@pytest.fixture(scope="module")
def model() -> TGL:
    model = build("lite", **SMALL, **{"vision.prior_dim": 16})
    model.prior.class_embeddings.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.fixture(scope="module")
def frames():
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)


def names(model: TGL, texts=NAMES):
    return model.prior.expression(model.text, model.text.tokenize(texts))


@torch.no_grad()
def test_cells_are_the_mean_of_names_under_the_classifier(model, frames):
    """ConSE by hand, cell by cell."""
    prefix = model.encode_prefix(frames)
    third = model.vision.trunk_stage(prefix[1], 2)
    last = model.vision.trunk_stage(third, 3)
    cells = model.cells(prefix)
    net = model.vision.trunk.net
    for row, column in ((0, 0), (1, 0)):
        logits = net.get_classifier()(last[1, row, column])
        mean = logits.softmax(-1) @ model.prior.class_embeddings
        assert torch.allclose(cells.last[1, row, column], mean, atol=1e-5)
    assert cells.learned.shape == (3, 4, 4, 32) and cells.last.shape == (3, 2, 2, 32)


@torch.no_grad()
def test_the_map_of_a_name_does_not_depend_on_the_others(model, frames):
    together = model.recognise(frames, names(model))
    assert together.shape == (3, 3, 4, 4) and together.std() > 1e-3
    alone = model.recognise(frames[1:2], names(model, NAMES[2:]))
    assert torch.allclose(together[1:2, 2:], alone, atol=1e-4)


@torch.no_grad()
def test_an_expression_is_recognised_as_in_the_network(model, frames):
    tokens = model.text.tokenize(NAMES[:2])
    prefix = model.encode_prefix(frames)
    clip = model.extract_adapted(prefix, tokens, torch.zeros(2, 3), align=False)
    alone = model.recognise(frames, names(model, NAMES[:2]))
    assert torch.allclose(clip.similarity, alone.transpose(0, 1), atol=1e-4)


@torch.no_grad()
def test_a_learned_part_that_is_untrained_adds_nothing(frames):
    torch.manual_seed(0)
    plain = TGLConfig.from_preset("lite").with_values(**SMALL, **{"vision.prior_dim": 0})
    model = TGL(plain, pretrained=False).eval()
    more = TGL(plain.with_values(**{"vision.prior_dim": 16}), pretrained=False).eval()
    missing, unexpected = more.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("prior.learned.") for name in missing)
    tokens = model.text.tokenize(NAMES[:1])
    found = []
    for network in (model, more):
        prefix = network.encode_prefix(frames)
        clip = network.extract_adapted(prefix, tokens, torch.zeros(1, 3))
        found.append((clip.features.top, clip.relevance))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@torch.no_grad()
@pytest.mark.parametrize(("layer", "seen_in"), [("top", "features"), ("last", "relevance")])
def test_what_is_learned_enters_the_network(model, frames, monkeypatch, layer, seen_in):
    tokens = model.text.tokenize(NAMES[:1])
    prefix = model.encode_prefix(frames)

    def found():
        with drawn_up_projections(model):
            clip = model.extract_adapted(prefix, tokens, torch.zeros(1, 3))
        return clip.features.top if seen_in == "features" else clip.relevance

    before = found()
    weight = getattr(model.prior.learned, layer).weight
    kept = weight.clone()
    weight.zero_()
    assert (found() - before).abs().max() > 1e-5
    weight.copy_(kept)


def test_expressions_keep_the_map_in_use(model, frames):
    """similarity_weight adds the loss of the map of the whole expression, and trains it."""
    target = torch.zeros(3, 64, 64, dtype=torch.bool)
    target[:, 8:40, 16:48] = True
    seen = torch.tensor([True])
    clips = [Clip("x", f[None], "the cat", torch.zeros(1).long(), seen, target[:1]) for f in frames]
    losses = {}
    for weight in (0.0, 0.5):
        config = TrainConfig(num_frames=1, similarity_weight=weight)
        with trained_stage(model, "image"):
            losses[weight], output = TrainingModule(model, "image", config).eval()(collate(clips))
    similar = similarity_loss(output.adapted.similarity.flatten(0, 1), target).mean()
    assert torch.allclose(losses[0.5]["similar"], similar) and "similar" not in losses[0.0]
    assert torch.allclose(losses[0.5]["loss"], losses[0.0]["loss"] + 0.5 * similar)


def test_the_stage_nouns_trains_what_recognises_and_nothing_else(model):
    names = [name for name, _ in model.named_parameters()]
    trained = [name for name in names if is_trained(name, "nouns", model.config)]
    assert trained and all(name.startswith("prior.learned.") for name in trained)
    assert not any("learned.top" in name or "learned.last" in name for name in trained)
    assert is_trained("prior.learned.top.weight", "image", model.config)


def test_a_network_goes_on_with_a_learned_part(model, tmp_path):
    old = build("lite", **SMALL, **{"vision.prior_dim": 0})
    old.save_pretrained(tmp_path)
    config = old.config.with_values(**{"vision.prior_dim": 16})
    again = build_model(config, tmp_path)
    assert torch.equal(again.prior.project.weight, old.prior.project.weight)
    assert again.prior.learned.bias.item() == -4


def test_what_learns_nothing_is_refused():
    model = build("lite", **SMALL, **{"vision.prior_dim": 0})
    for stage, values in (("nouns", {}), ("image", {"similarity_weight": 0.5})):
        with pytest.raises(InputError, match="prior_dim"):
            TrainingModule(model, stage, TrainConfig(num_frames=1, **values))

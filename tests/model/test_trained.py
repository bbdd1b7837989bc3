"""What is trained in which stage, how much of it there is, and that gradients reach all of it."""

import pytest
import torch
from networks import drawn_up_projections, trained_stage
from torch import nn

from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.clips import ClipBatch
from tgl_e2e.data.motion import ATTRIBUTES
from tgl_e2e.errors import InputError
from tgl_e2e.model.trained import STAGES, is_base, is_trained
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.losses import LossWeights, tgl_loss
from tgl_e2e.training.module import TrainingModule

TEXTS = ["the red star that jumps", "a circle moving to the left"]
FRAMES = {"dense": 1, "image": 1, "align": 8, "video": 8, "moments": 8}


# --- sizes ---------------------------------------------------------------------------------------


def check_sums(counts):
    assert counts["total"] == sum(
        counts[part] for part in ("sam2", "roberta", "adapters", "prompt", "tam")
    )


def test_size_of_hiera_b(hiera, capsys):
    """The paper's: 202 M in all and 17 M trained, before the TAM."""
    counts = hiera.parameter_counts()
    check_sums(counts)
    assert counts["total"] == sum(p.numel() for p in hiera.parameters())
    assert counts["total"] - counts["tam"] == pytest.approx(202e6, rel=0.05)
    assert counts["trained"] - counts["tam"] == pytest.approx(17e6, rel=0.10)
    with capsys.disabled():
        print(f"\nhiera-b: {counts}")


def test_size_of_hiera_l(monkeypatch, capsys):
    """The paper's: 355 M. Weights stay as the memory happens to be: they only get counted."""
    for name in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *arguments, **named: tensor)
    config = TGLConfig.from_preset("hiera-l").with_values(**{"vision.image_size": 256})
    counts = TGL(config, pretrained=False).parameter_counts()
    check_sums(counts)
    assert counts["total"] == pytest.approx(355e6, rel=0.03)
    with capsys.disabled():
        print(f"\nhiera-l: {counts}")


def test_trained_count_of_tiny_leaves_out_what_is_never_used(tiny):
    counts = tiny.parameter_counts()
    check_sums(counts)
    assert 0 < counts["total"] - counts["trained"] < 0.05 * counts["total"]


# --- the predicate -------------------------------------------------------------------------------


def test_bases_of_the_paper_are_frozen(hiera):
    names = [name for name, _ in hiera.named_parameters()]
    for name in names:
        frozen = name.startswith(
            ("vision.sam.image_encoder.", "vision.sam.sam_prompt_encoder.", "text.")
        )
        assert is_base(name, hiera.config) == frozen, name
        if frozen:
            assert not any(is_trained(name, stage, hiera.config) for stage in STAGES)
    # names are matched at dots
    for name in ("vision.sam.image_encoder_extra.weight", "text"):
        assert not is_base(name, hiera.config)


def test_stages(tiny):
    def chosen(stage, freeze_bases):
        config = tiny.config.with_values(freeze_bases=freeze_bases)
        return {name for name, _ in tiny.named_parameters() if is_trained(name, stage, config)}

    for freeze_bases in (True, False):
        assert chosen("image", freeze_bases) < chosen("align", freeze_bases)
        assert chosen("align", freeze_bases) < chosen("video", freeze_bases)
    aligning = chosen("align", True) - chosen("image", True)
    assert {name.split(".")[0] for name in aligning} == {"tam"}
    assert chosen("moments", True) == chosen("moments", False) == aligning
    remembering = chosen("video", True) - chosen("align", True)
    assert {name.split(".")[0] for name in remembering} == {"vision"}
    assert chosen("dense", True) == set()
    assert chosen("dense", False) < chosen("image", False)
    with pytest.raises(AssertionError):
        is_trained("tam.head.weight", "text", tiny.config)


def test_set_stage_marks_parameters(tiny):
    for stage in STAGES:
        with trained_stage(tiny, stage):
            for name, parameter in tiny.named_parameters():
                assert parameter.requires_grad == is_trained(name, stage, tiny.config), name


def test_frozen_bases_stay_in_eval_mode(hiera, tiny):
    with trained_stage(hiera, "video"):
        assert hiera.training and hiera.adapters.training
        assert hiera.vision.sam.memory_attention.training
        for name, module in hiera.named_modules():
            assert module.training != is_base(name, hiera.config), name
        TrainingModule(hiera, "video", TrainConfig()).train()  # also from outside
        assert not hiera.text.roberta.training and hiera.tam.training
    config = TGLConfig.from_preset("tiny").with_values(freeze_bases=True)
    fresh = TGL(config, pretrained=False)  # without any call of train()
    assert fresh.training and not fresh.text.roberta.training
    with trained_stage(tiny, "video"):  # nothing is frozen there
        assert all(module.training for module in tiny.modules())
    assert not any(module.training for module in tiny.modules())


def test_dropout_of_the_frozen_text_encoder_is_off_in_training(hiera):
    tokens = hiera.text.tokenize(TEXTS)
    with trained_stage(hiera, "video"), torch.no_grad():
        first, second = (
            hiera.text.layers(hiera.text.embed(tokens), tokens.mask, 0, 2) for _ in range(2)
        )
    assert torch.equal(first, second)


# --- gradients -----------------------------------------------------------------------------------


def make_batch(frames, size: int) -> ClipBatch:
    """Two clips: five and three M+ frames; labels drawn at random."""
    generator = torch.Generator().manual_seed(0)
    batch, count = frames.shape[:2]
    relevant = torch.tensor([[1, 1, 0, 1, 0, 1, 1, 0], [0, 1, 0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    target = torch.zeros(batch, count, size, size, dtype=torch.bool)
    target[0, :, size // 4 : size // 2, size // 4 : size // 2] = True
    labels = {
        name: torch.randint(-1, classes, (batch, count, size // 4, size // 4), generator=generator)
        for name, classes in ATTRIBUTES.items()
    }
    labels["object"] = labels["shape"] >= 0
    return ClipBatch(
        frames=frames,
        texts=TEXTS,
        relevant=relevant[:, :count],
        positions=torch.arange(count).repeat(batch, 1) * 2,
        target=target,
        labels=labels,
        cues=["mixed"] * batch,
        names=["made up"] * batch,
        remember=torch.zeros(batch, dtype=torch.bool),
    )


@pytest.fixture
def presence_of_both_signs():
    """Alternately lets the presence head see an object and none: no_obj_ptr and
    no_obj_embed_spatial take part only where it sees none, the pointer MLP where it sees one."""
    handles = []

    def attach(model):
        calls = iter(range(1000))
        head = model.vision.sam.sam_mask_decoder.pred_obj_score_head
        handles.append(
            head.register_forward_hook(
                lambda module, inputs, logits: logits + (6.0 if next(calls) % 2 else -16.0)
            )
        )

    yield attach
    for handle in handles:
        handle.remove()


def check_gradients(model: TGL, stage: str) -> None:
    """Exactly the stage's trained set has gradients, and none is zero throughout."""
    silent, stray = [], []
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if is_trained(name, stage, model.config):
            if gradient is None or not gradient.isfinite().all() or not gradient.any():
                silent.append(name)
        elif gradient is not None:
            stray.append(name)
    assert silent == [] and stray == []


@pytest.mark.parametrize("stage", ["image", "video"])
def test_gradients_at_full_width(hiera, hiera_frames, presence_of_both_signs, stage):
    batch = make_batch(hiera_frames[None, : FRAMES[stage]], 256)
    presence_of_both_signs(hiera)
    torch.manual_seed(0)
    with drawn_up_projections(hiera), trained_stage(hiera, stage):
        output = hiera(batch.frames, TEXTS[:1], batch.relevant[:1], batch.positions)
        if stage == "video":
            written = output.presence[0][batch.relevant[0]]
            assert (written > 0).any() and (written <= 0).any()
        losses = tgl_loss(
            output.masks,
            output.presence,
            output.relevance,
            batch.target,
            batch.relevant[:1],
            weights=LossWeights(present=0.1),
        )
        losses["loss"].backward()
        check_gradients(hiera, stage)


@pytest.mark.parametrize(
    ("stage", "remember"),
    [("dense", False), ("image", False), ("align", False), ("video", False), ("video", True)],
)
def test_gradients_of_a_network_from_scratch(
    tiny, tiny_frames, presence_of_both_signs, stage, remember
):
    """The dense head included, which trains beside the network."""
    batch = make_batch(tiny_frames[:2, : FRAMES[stage]], 128)
    presence_of_both_signs(tiny)
    torch.manual_seed(0)
    batch.remember[:] = remember
    module = TrainingModule(
        tiny,
        stage,
        TrainConfig(dense_weight=0.3, presence_weight=0.1, remember_target=float(remember)),
    )
    with drawn_up_projections(tiny), trained_stage(tiny, stage):
        losses, _ = module(batch)
        losses["loss"].backward()
        check_gradients(tiny, stage)
        assert all(p.grad is not None and p.grad.any() for p in module.head.parameters())


# What nouns trains, this network does not have: tests/model/test_prior.py.
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "nouns"])
def test_trained_set_is_all_that_takes_part(tiny, tiny_frames, presence_of_both_signs, stage):
    """With nothing frozen: what gets a gradient is what the stage says it trains."""
    batch = make_batch(tiny_frames[:2, : FRAMES[stage]], 128)
    presence_of_both_signs(tiny)
    module = TrainingModule(tiny, stage, TrainConfig(dense_weight=0.3, presence_weight=0.1))
    with drawn_up_projections(tiny), trained_stage(tiny, stage):
        tiny.requires_grad_(True)
        module(batch)[0]["loss"].backward()
        moved = {name for name, p in tiny.named_parameters() if p.grad is not None and p.grad.any()}
        expected = {
            name for name, _ in tiny.named_parameters() if is_trained(name, stage, tiny.config)
        }
        assert moved == expected


@pytest.mark.parametrize(
    "relevant", [[1, 0], [0, 1], [1, 1], [0, 0]], ids=lambda relevant: "".join(map(str, relevant))
)
def test_every_clip_gives_every_parameter_a_gradient(tiny, tiny_frames, relevant):
    """A parameter without one (zeros will do) would make the other processes of a run wait."""
    relevant = torch.tensor([relevant], dtype=torch.bool)
    with trained_stage(tiny, "video"):
        output = tiny(tiny_frames[:1, :2], TEXTS[:1], relevant, torch.tensor([[0, 5]]))
        losses = tgl_loss(
            output.masks,
            output.presence,
            output.relevance,
            torch.zeros(1, 2, 128, 128, dtype=torch.bool),
            relevant,
        )
        losses["loss"].backward()
        trained = [(name, p) for name, p in tiny.named_parameters() if p.requires_grad]
        assert [name for name, p in trained if p.grad is None] == []


def test_recomputed_activations_give_the_same_gradients(tiny, tiny_frames):
    batch, found = make_batch(tiny_frames[:2], 128), []
    saved: list[int] = []

    def count(tensor):
        saved[-1] += tensor.numel()
        return tensor

    for checkpointing in (False, True):
        module = TrainingModule(tiny, "video", TrainConfig(checkpointing=checkpointing))
        with drawn_up_projections(tiny), trained_stage(tiny, "video"):
            saved.append(0)
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                losses, _ = module(batch)
            losses["loss"].backward()
            found.append(
                {name: p.grad.clone() for name, p in tiny.named_parameters() if p.grad is not None}
            )
    tiny.vision.checkpointing = False
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        # Attention adds in another order where it is to be recomputed.
        off = (gradient - found[1][name]).norm()
        assert off < 1e-3 * gradient.norm() + 1e-5, name
    assert saved[1] < 0.6 * saved[0]  # activations kept for the backward pass


def test_untrained_adapters_hold_back_gradients_behind_w_up_only(tiny, tiny_frames):
    """W_up itself learns from the first step on."""
    batch = make_batch(tiny_frames[:2], 128)
    with trained_stage(tiny, "video"):
        output = tiny(batch.frames, TEXTS, batch.relevant, batch.positions)
        output.masks.square().mean().backward()
        for adapter in tiny.adapters:
            assert adapter.visual_up.weight.grad.any()
            assert not adapter.visual_down.weight.grad.any()


# --- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"adapter.patch_sizes": [8, 8, 3]}, "adapter.patch_sizes: 3 does not divide"),
        ({"text.vocab_size": 100}, "text.vocab_size"),
        ({"text.adapter_layers": [1, 2, 2]}, "text.adapter_layers"),
        ({"memory.num_memories": 7}, "memory.num_memories"),
        ({"vision.architecture": "sam3"}, "sam3"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, named):
    with pytest.raises(InputError) as error:
        TGL(TGLConfig.from_preset("tiny").with_values(**changes), pretrained=False)
    assert named in str(error.value) and "\n" not in str(error.value)

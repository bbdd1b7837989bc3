"""Checkpoints and bases: what is written is read back exactly, and nothing else is accepted."""

import json
import pickle

import huggingface_hub.constants
import pytest
import torch
from networks import build, difference, drawn_up_projections
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaModel

from tgl_e2e import TGL, TGLConfig, VideoSegmenter
from tgl_e2e.errors import InputError
from tgl_e2e.model.checkpoint import BASES_NAME, WEIGHTS_NAME
from tgl_e2e.model.trained import is_base

TEXTS = ["the red star that jumps"]


def outputs(model: TGL, frames):
    with torch.no_grad():
        found = model(
            frames[:1, :3], TEXTS, torch.tensor([[True, False, True]]), torch.tensor([[0, 3, 7]])
        )
    return torch.cat([found.masks.flatten(), found.presence.flatten(), found.relevance.flatten()])


def refused(call, *arguments, **named) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **named)
    message = str(error.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.fixture
def offline(monkeypatch):
    """huggingface_hub reads HF_HUB_OFFLINE once, on import."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


# --- a whole network -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with drawn_up_projections(tiny):
        tiny.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to spoil."""
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_saved_network_gives_equal_outputs(tiny, saved, tiny_frames):
    assert sorted(path.name for path in saved.iterdir()) == [
        "config.json",
        "merges.txt",
        WEIGHTS_NAME,
        "vocab.json",
    ]
    model = TGL.from_pretrained(saved)
    assert not any(module.training for module in model.modules())
    assert model.config == tiny.config
    with drawn_up_projections(tiny):
        assert torch.equal(outputs(model, tiny_frames), outputs(tiny, tiny_frames))
    assert set(model.state_dict()) == set(load_file(saved / WEIGHTS_NAME))


def test_training_mode_is_saved_alike(tiny, saved, tmp_path):
    tiny.train()
    try:
        tiny.save_pretrained(tmp_path)
    finally:
        tiny.eval()
    assert not TGL.from_pretrained(tmp_path).training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_file(saved, tmp_path, tiny_frames, dtype):
    whole = TGL.from_pretrained(saved)
    whole.save_pretrained(tmp_path, dtype=dtype)
    assert {value.dtype for value in load_file(tmp_path / WEIGHTS_NAME).values()} == {dtype}
    assert (tmp_path / WEIGHTS_NAME).stat().st_size < 0.51 * (saved / WEIGHTS_NAME).stat().st_size
    model = TGL.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name].to(dtype).float()), name
    expected = outputs(whole, tiny_frames)
    error = (outputs(model, tiny_frames) - expected).abs().mean()
    assert 0 < error < 0.05 * expected.abs().mean()


def test_dtype_is_what_is_computed_in(saved):
    model = TGL.from_pretrained(saved, dtype=torch.bfloat16)
    assert model.compute_dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_dtype_as_a_word_and_weights_that_are_not_float32(saved):
    assert TGL.from_pretrained(saved, dtype="bfloat16").compute_dtype == torch.bfloat16
    with pytest.raises(InputError, match="dtype is 'int8'; give one of float32"):
        TGL.from_pretrained(saved, dtype="int8")
    model = TGL.from_pretrained(saved)
    for halved in (model.half(), model.to(torch.bfloat16)):
        with pytest.raises(InputError, match=r"not float32.*dtype=torch.float16"):
            VideoSegmenter(halved)


def test_saving_again_replaces_the_files(saved, tmp_path, tiny_frames):
    for _ in range(2):
        TGL.from_pretrained(saved).save_pretrained(tmp_path / "deep" / "folder")
    assert len(list((tmp_path / "deep" / "folder").iterdir())) == 4
    assert torch.equal(
        outputs(TGL.from_pretrained(tmp_path / "deep" / "folder"), tiny_frames),
        outputs(TGL.from_pretrained(saved), tiny_frames),
    )


# --- spoilt checkpoints --------------------------------------------------------------------------


def rewrite(folder, change, metadata=None):
    path = folder / WEIGHTS_NAME
    with safe_open(path, "pt") as file:
        kept = file.metadata()
    state = load_file(path)
    change(state)
    save_file(state, path, metadata=metadata or kept)


def test_missing_tensor(folder):
    rewrite(folder, lambda state: state.pop("tam.head.weight"))
    assert "'tam.head.weight' is missing" in refused(TGL.from_pretrained, folder)


def test_missing_base_tensor(folder):
    """A file that says it holds the bases must hold all of them."""
    rewrite(folder, lambda state: state.pop("text.roberta.embeddings.LayerNorm.weight"))
    assert "LayerNorm.weight' is missing" in refused(TGL.from_pretrained, folder)


def test_wrong_shape(folder):
    rewrite(folder, lambda state: state.update({"tam.head.weight": torch.zeros(2, 128)}))
    message = refused(TGL.from_pretrained, folder)
    assert "tam.head.weight" in message and "(2, 128)" in message and "(1, 128)" in message


def test_unexpected_tensor(folder):
    rewrite(folder, lambda state: state.update({"tam.more": torch.zeros(2)}))
    assert "'tam.more'" in refused(TGL.from_pretrained, folder)


def test_bases_left_out_though_none_are_named(folder):
    """They would stay random, silently."""

    def drop(state):
        for name in [name for name in state if is_base(name, TGLConfig.from_preset("tiny"))]:
            del state[name]

    rewrite(folder, drop, {"format": "tgl_e2e-1", "includes_bases": "false"})
    assert "vision.base" in refused(TGL.from_pretrained, folder)


def test_bases_cannot_be_left_out_where_none_are_named(tiny, tmp_path):
    assert "text.base" in refused(tiny.save_pretrained, tmp_path, include_frozen=False)


def test_other_config(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["tam"]["dim"] = 64
    path.write_text(json.dumps(values))
    assert "config.json" in refused(TGL.from_pretrained, folder)
    values["tam"]["dimension"] = 64
    path.write_text(json.dumps(values))
    assert "dimension" in refused(TGL.from_pretrained, folder)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS_NAME, "vocab.json", "merges.txt"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    message = refused(TGL.from_pretrained, folder)
    assert name in message and str(folder) in message


@pytest.mark.parametrize("name", ["config.json", WEIGHTS_NAME, "vocab.json"])
def test_damaged_file(folder, name):
    content = (folder / name).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\x00" * 100):
        (folder / name).write_bytes(damaged)
        assert str(folder) in refused(TGL.from_pretrained, folder)


class _Code:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def test_pickled_weights_are_not_opened(folder):
    with (folder / WEIGHTS_NAME).open("wb") as file:
        pickle.dump(_Code(), file)
    assert "safetensors" in refused(TGL.from_pretrained, folder)
    torch.save({"model": _Code()}, folder / WEIGHTS_NAME)
    assert "safetensors" in refused(TGL.from_pretrained, folder)


def test_config_cannot_choose_what_is_called(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["vision"]["overrides"]["image_encoder"]["trunk"]["_target_"] = "os.getcwd"
    path.write_text(json.dumps(values))
    assert "_target_" in refused(TGL.from_pretrained, folder)


def test_no_such_folder(tmp_path, offline):
    file = tmp_path / "file"
    file.touch()
    assert "not a folder" in refused(TGL.from_pretrained, file)
    for missing in (tmp_path / "missing", "missing", "./missing", "a/b/c", "someone/no-such-net"):
        assert "no such folder" in refused(TGL.from_pretrained, missing)


# --- bases ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """SAM2's official format, and a RoBERTa folder, both small."""
    folder = tmp_path_factory.mktemp("bases")
    source = build("tiny", seed=7)
    torch.save({"model": source.vision.sam.state_dict()}, folder / "sam2.pt")
    config = RobertaConfig(
        vocab_size=900,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=42,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    RobertaModel(config).save_pretrained(folder / "roberta")
    source.text.save_tokenizer(folder / "roberta")
    return folder


def config_of(bases, **changes) -> TGLConfig:
    return TGLConfig.from_preset("tiny").with_values(
        **{
            "freeze_bases": True,
            "vision.base": str(bases / "sam2.pt"),
            "text.base": str(bases / "roberta"),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def based(bases):
    torch.manual_seed(3)
    model = TGL(config_of(bases)).eval()
    for adapter in model.adapters:
        torch.nn.init.normal_(adapter.visual_up.weight, std=0.05)
    return model


def test_bases_are_really_loaded(bases, based):
    official = torch.load(bases / "sam2.pt", weights_only=True)["model"]
    for name, value in based.vision.sam.state_dict().items():
        assert torch.equal(value, official[name]), name
    written = load_file(bases / "roberta" / "model.safetensors")
    for name, value in based.text.roberta.state_dict().items():
        assert torch.equal(value, written[name]), name
    sizes = based.config.text  # the base decides them
    assert (sizes.vocab_size, sizes.hidden_size, sizes.max_tokens) == (900, 32, 40)
    assert based.text.max_tokens == 40 and based.adapters[0].text_down.in_features == 32


def test_without_pretrained_nothing_is_loaded(bases):
    model = TGL(
        config_of(bases, **{"vision.base": "nowhere.pt", "text.base": "nowhere"}), pretrained=False
    )
    assert model.text.dim == 128


def test_frozen_bases_are_left_out_and_found_again(based, tmp_path, tiny_frames):
    based.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS_NAME)
    assert set(state) == {name for name in based.state_dict() if not is_base(name, based.config)}
    assert "vision.sam.memory_encoder.out_proj.weight" in state  # trained, so saved
    again = TGL.from_pretrained(tmp_path)
    assert torch.equal(outputs(again, tiny_frames), outputs(based, tiny_frames))
    assert again.config == based.config


def test_frozen_bases_can_be_included(based, bases, tmp_path, tiny_frames, offline):
    based.save_pretrained(tmp_path, include_frozen=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision"]["base"], config["text"]["base"] = "gone.pt", "gone"
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = TGL.from_pretrained(tmp_path)
    assert torch.equal(outputs(again, tiny_frames), outputs(based, tiny_frames))
    again.save_pretrained(tmp_path / "again")  # from there they could not be loaded again
    written = {
        name for file in (tmp_path / "again").glob("*.safetensors") for name in load_file(file)
    }
    assert written == set(based.state_dict())


def test_bases_of_random_weights_are_never_left_out(bases, tmp_path):
    """Though the config names bases, these are not they."""
    TGL(config_of(bases), pretrained=False).save_pretrained(tmp_path)
    assert load_file(tmp_path / BASES_NAME.format("vision"))
    assert load_file(tmp_path / BASES_NAME.format("text"))


def test_half_precision_with_bases_left_out(based, tmp_path, tiny_frames):
    based.save_pretrained(tmp_path, dtype=torch.float16)
    again = TGL.from_pretrained(tmp_path)
    assert difference(outputs(again, tiny_frames), outputs(based, tiny_frames)) < 0.05
    trunk = "vision.sam.image_encoder.trunk.patch_embed.proj.weight"
    assert torch.equal(again.state_dict()[trunk], based.state_dict()[trunk])  # float32 of the base


def test_trained_tensor_missing_where_bases_are_left_out(based, tmp_path):
    based.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda state: state.pop("vision.sam.no_mem_embed"))
    assert "no_mem_embed" in refused(TGL.from_pretrained, tmp_path)


def test_tokenizer_larger_than_the_vocabulary_is_refused(bases, tmp_path):
    RobertaModel(
        RobertaConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=48,
            type_vocab_size=1,
        )
    ).save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((bases / "roberta" / name).read_bytes())
    config = config_of(bases, **{"text.base": str(tmp_path)})
    assert "800 tokens" in refused(TGL, config)


def test_missing_bases_without_network_say_what_to_download(bases, offline):
    message = refused(TGL, config_of(bases, **{"vision.base": "facebook/sam2.1-hiera-base-plus"}))
    assert "sam2.1_hiera_base_plus.pt" in message and "vision.base" in message
    message = refused(TGL, config_of(bases, **{"text.base": "FacebookAI/roberta-base"}))
    assert "FacebookAI/roberta-base" in message and "text.base" in message
    message = refused(TGL, config_of(bases, **{"vision.base": str(bases / "gone.pt")}))
    assert "gone.pt" in message and "facebook/sam2.1-hiera-large" in message
    message = refused(TGL, config_of(bases, **{"text.base": str(bases / "gone")}))
    assert "gone" in message and "text.base" in message


@pytest.mark.parametrize("preset", ["hiera-b", "hiera-l"])
def test_presets_name_bases_that_can_be_downloaded(preset):
    from tgl_e2e.model.bases import HUB_FILES

    config = TGLConfig.from_preset(preset)
    assert HUB_FILES[config.vision.base].endswith(".pt")
    assert config.text.base == "FacebookAI/roberta-base"

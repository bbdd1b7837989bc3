"""RoBERTa in pieces equals RoBERTa; what counts as a verb; tokenizers; loading."""

import json

import pytest
import torch
from networks import difference
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaModel

from tgl_e2e.errors import InputError
from tgl_e2e.model.build import DEFAULT_TOKENIZER
from tgl_e2e.model.text import (
    TextEncoder,
    encoder_sizes,
    knows_lower_case_alone,
    load_encoder,
    load_tokenizer,
    train_tokenizer,
    verb_spans,
)

TEXTS = ["the dog that jumps over the fence and runs away", "cat", "a bird flying to the left"]

# Sentences in the manner of MeViS, and their verbs.
VERBS = {
    "the dog that jumps over the fence": ["jumps"],
    "a man walking from left to right": ["walking"],
    "the cat chasing the red ball": ["chasing"],
    "the bird flying away from the tree": ["flying"],
    "two elephants moving forward slowly": ["moving"],
    "the car that turns left at the corner": ["turns"],
    "person who picks up the box and leaves": ["picks", "leaves"],
    "the white rabbit hops twice then stops": ["hops", "stops"],
    "the sheep standing still while the others run": ["standing", "run"],
    "the girl who waves her hand": ["waves"],
    "a panda climbing up and falling down": ["climbing", "falling"],
    "the person in red who walks towards the camera": ["walks"],
    "the tiger lying on the ground": ["lying"],
    "the monkey that was pushed by the other monkey": ["pushed"],
    "horse kicked by the man": ["kicked"],
    "turtle that swims up to the surface": ["swims"],
    "the player who throws the ball": ["throws"],
    "the dog that jumped, turned around and ran.": ["jumped", "turned", "ran"],
    "entering from the right edge": ["entering"],
    "Rotating in place": ["Rotating"],
}


def verbs(text: str) -> list[str]:
    return [text[start:end] for start, end in verb_spans(text)]


def test_verbs_of_sentences():
    """Of these 20 the tagger finds every verb in 18 (it takes "leaves" and "stops" for nouns), at
    least one in all, and calls nothing else a verb."""
    complete = [text for text, expected in VERBS.items() if verbs(text) == expected]
    assert len(complete) >= 18
    for text, expected in VERBS.items():
        assert verbs(text) and set(verbs(text)) <= set(expected), text


def test_sentences_without_a_verb():
    for text in ("the biggest dog", "the red circle", "the second cat from the left", "...", "!"):
        assert verbs(text) == []


def test_short_words_in_ing_are_nouns():
    assert verbs("the red ring") == []
    assert verbs("the king of the wing") == []


def test_spans_point_at_the_words_whatever_surrounds_them():
    assert verbs('  "jumping" ,  the dog (jumping) again!') == ["jumping", "jumping"]


# --- tokens --------------------------------------------------------------------------------------


def words_of(tiny, tokens, row):
    ids = tokens.ids[row][tokens.verb_mask[row]].tolist()
    return tiny.text.tokenizer.decode(ids).split()


def test_verb_mask_covers_all_pieces_of_the_verb(tiny):
    tokens = tiny.text.tokenize(["the dog that was somersaulting quickly", "the red star"])
    assert words_of(tiny, tokens, 0) == ["somersaulting"]
    assert tokens.verb_mask[0].sum() > 1  # the vocabulary has no such word
    assert words_of(tiny, tokens, 1) == ["the", "red", "star"]  # no verb: all words


def test_special_and_padding_tokens_are_never_verbs(tiny):
    tokens = tiny.text.tokenize(TEXTS)
    special = torch.tensor(tiny.text.tokenizer.all_special_ids)
    assert not (tokens.verb_mask & torch.isin(tokens.ids, special)).any()
    assert not (tokens.verb_mask & ~tokens.mask).any()
    assert tokens.verb_mask.any(dim=1).all()
    assert tokens.mask.sum(dim=1).tolist() == [
        len(tiny.text.tokenizer(text)["input_ids"]) for text in TEXTS
    ]
    assert tokens[1:].ids.shape[0] == 2 and torch.equal(tokens.to("cpu").ids, tokens.ids)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_empty_text_is_refused(tiny, text):
    with pytest.raises(InputError, match="the text is empty"):
        tiny.text.tokenize(["the dog", text])


def test_text_longer_than_the_encoder_takes_is_refused(tiny):
    longest = tiny.text.max_tokens - 2
    word = " red"
    assert len(tiny.text.tokenizer.tokenize(word * longest)) == longest
    tokens = tiny.text.tokenize([(word * longest)])
    assert tokens.ids.shape[1] == tiny.text.max_tokens
    with torch.no_grad():  # and the encoder does take it
        tiny.text.layers(tiny.text.embed(tokens), tokens.mask, 0, 3)
    with pytest.raises(InputError, match="shorten it") as error:
        tiny.text.tokenize([word * (longest + 1)])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


# --- encoder -------------------------------------------------------------------------------------


@torch.no_grad()
def test_layers_in_pieces_equal_roberta(hiera):
    tokens = hiera.text.tokenize(TEXTS)
    hidden = hiera.text.embed(tokens)
    for start, end in ((0, 4), (4, 8), (8, 12)):
        hidden = hiera.text.layers(hidden, tokens.mask, start, end)
    own = hiera.text.roberta(input_ids=tokens.ids, attention_mask=tokens.mask.long())
    assert difference(hidden[tokens.mask], own.last_hidden_state[tokens.mask]) < 1e-5
    assert hidden.std() > 0.5


@torch.no_grad()
def test_text_behind_untrained_adapters_equals_roberta(hiera, hiera_frames):
    """What the prompt MLP is given is RoBERTa's last_hidden_state."""
    given = []
    handle = hiera.prompt.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    tokens = hiera.text.tokenize(TEXTS[:1])
    try:
        hiera.extract_adapted(
            hiera.encode_prefix(hiera_frames[:1]), tokens, torch.zeros(1, 1), align=False
        )
    finally:
        handle.remove()
    own = hiera.text.roberta(input_ids=tokens.ids, attention_mask=tokens.mask.long())
    assert difference(given[0][0], own.last_hidden_state) < 1e-5
    assert torch.equal(given[0][1], tokens.verb_mask)


@torch.no_grad()
def test_padding_changes_no_other_row(tiny):
    both, alone = tiny.text.tokenize(TEXTS), tiny.text.tokenize(TEXTS[1:2])
    assert both.ids.shape[1] > alone.ids.shape[1]
    wide = tiny.text.layers(tiny.text.embed(both), both.mask, 0, 3)[1][both.mask[1]]
    narrow = tiny.text.layers(tiny.text.embed(alone), alone.mask, 0, 3)[0]
    assert difference(wide, narrow) < 1e-5


# --- tokenizer files -----------------------------------------------------------------------------


def test_tokenizer_survives_saving(tiny, tmp_path):
    tiny.text.save_tokenizer(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    again = load_tokenizer(tmp_path)
    for text in [*TEXTS, "Señor Müller's 2nd dog — 犬 🐕 !"]:
        ids = tiny.text.tokenizer(text)["input_ids"]
        assert again(text)["input_ids"] == ids
        assert again.decode(ids, skip_special_tokens=True) == text


def test_newer_tokenizer_folders_are_read_too(tiny, tmp_path):
    """transformers writes tokenizer.json where it wrote vocab.json and merges.txt before."""
    tiny.text.tokenizer.save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).unlink(missing_ok=True)
    assert load_tokenizer(tmp_path)(TEXTS)["input_ids"] == tiny.text.tokenizer(TEXTS)["input_ids"]


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_tokenizer_file_is_named(tiny, tmp_path, name):
    tiny.text.save_tokenizer(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name):
        load_tokenizer(tmp_path)


def test_damaged_tokenizer_is_refused(tiny, tmp_path):
    tiny.text.save_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(InputError, match="damaged") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_trained_tokenizer_has_robertas_special_tokens(tmp_path):
    train_tokenizer(["the red circle jumps", "the blue star spins"] * 5, 300, tmp_path / "new")
    vocabulary = json.loads((tmp_path / "new" / "vocab.json").read_text())
    assert [vocabulary[t] for t in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [0, 1, 2, 3, 4]
    tokenizer = load_tokenizer(tmp_path / "new")
    encoded = tokenizer(["the star", "the circle jumps up"], padding=True)["input_ids"]
    assert encoded[0][0] == 0 and 2 in encoded[0] and encoded[0][-1] == 1


def test_shipped_tokenizer_fits_the_tiny_preset(tiny):
    tokenizer = load_tokenizer(DEFAULT_TOKENIZER)
    assert len(tokenizer) <= tiny.config.text.vocab_size
    assert tokenizer.unk_token_id not in tokenizer("Anything ünder the sun, 日本語")["input_ids"]


# --- weights -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A small RoBERTa as RobertaModel.save_pretrained writes it, in half precision."""
    config = RobertaConfig(
        vocab_size=800,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    torch.manual_seed(0)
    RobertaModel(config).half().save_pretrained(tmp_path)
    return tmp_path


def test_folder_is_loaded_exactly_and_in_float32(folder):
    roberta = load_encoder(str(folder))
    written = load_file(folder / "model.safetensors")
    loaded = roberta.state_dict()
    assert set(written) - set(loaded) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert {value.dtype for value in loaded.values() if value.is_floating_point()} == {
        torch.float32
    }
    for name, value in loaded.items():
        assert torch.equal(value, written[name].float()), name
    assert encoder_sizes(roberta) == {
        "architecture": "roberta",
        "vocab_size": 800,
        "hidden_size": 32,
        "num_layers": 3,
        "num_heads": 2,
        "intermediate_size": 64,
        "max_tokens": 38,
    }


def test_loaded_weights_compute_what_roberta_computes(folder):
    roberta = load_encoder(str(folder)).eval()
    encoder = TextEncoder(roberta, load_tokenizer(DEFAULT_TOKENIZER), 38)
    tokens = encoder.tokenize(TEXTS)
    with torch.no_grad():
        own = (
            RobertaModel.from_pretrained(folder, dtype=torch.float32)
            .eval()(input_ids=tokens.ids, attention_mask=tokens.mask.long())
            .last_hidden_state
        )
        found = encoder.layers(encoder.embed(tokens), tokens.mask, 0, 3)
    assert difference(found[tokens.mask], own[tokens.mask]) < 1e-5


def test_missing_tensor_is_not_replaced_by_a_random_one(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"encoder\.layer\.1\.output\.dense\.weight") as error:
        load_encoder(str(folder))
    assert "\n" not in str(error.value)


def test_wrong_shape_damage_and_missing_config_are_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    state = load_file(path)
    state["encoder.layer.1.output.dense.weight"] = torch.zeros(3, 3)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="could not be loaded") as error:
        load_encoder(str(folder))
    assert "\n" not in str(error.value)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="copy it again") as error:
        load_encoder(str(folder))
    assert "\n" not in str(error.value)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_encoder(str(folder))


def test_capitals_change_nothing_where_the_tokenizer_knows_none(tiny, tmp_path):
    plain, loud = "the white circle that moves up", "THE WHITE Circle That MOVES up"
    one, two = tiny.text.tokenize([plain]), tiny.text.tokenize([loud])
    assert torch.equal(one.ids, two.ids) and torch.equal(one.verb_mask, two.verb_mask)
    train_tokenizer(["The Cat jumps", "A Cat and the Dog"] * 4, 300, tmp_path)
    assert not knows_lower_case_alone(load_tokenizer(tmp_path))


def test_verbs_are_found_in_capitals():
    text = "THE DOG THAT JUMPS"
    assert [text[a:b] for a, b in verb_spans(text)] == ["JUMPS"]
    assert [text[a:b] for a, b in verb_spans(text)] == [
        text[a:b] for a, b in verb_spans(text.lower())
    ]

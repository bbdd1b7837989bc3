import subprocess
import sys

from tgl_e2e.data.synthetic import make_scene
from tgl_e2e.model.build import DEFAULT_TOKENIZER
from tgl_e2e.model.text import load_tokenizer, train_tokenizer


def test_the_shipped_tokenizer_reads_the_sentences_word_by_word():
    tokenizer = load_tokenizer(DEFAULT_TOKENIZER)
    ids = tokenizer("the red star")["input_ids"]
    assert ids[0] == 0 and ids[-1] == 2, "<s> and </s> have RoBERTa's ids"
    texts = [e.text for seed in range(30) for e in make_scene(seed, level="full").expressions]
    words = sum(len(text.split()) for text in texts)
    tokens = sum(len(tokenizer(text)["input_ids"]) - 2 for text in texts)
    assert tokens < 1.15 * words
    assert tokenizer.decode(tokenizer(texts[0])["input_ids"][1:-1]) == texts[0]


def test_training_is_deterministic(tmp_path):
    texts = [e.text for seed in range(20) for e in make_scene(seed).expressions]
    for name in ("a", "b"):
        train_tokenizer(texts, 400, tmp_path / name)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load_tokenizer(tmp_path / "a")("the red star")["input_ids"]


def test_command(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tgl_e2e.tools.train_tokenizer",
            "--output",
            str(tmp_path / "bpe"),
            "--scenes",
            "5",
            "--vocab-size",
            "300",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bpe" / "vocab.json").is_file()

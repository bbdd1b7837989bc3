"""The text encoder: RoBERTa, or another of its build (BERT). All that imports ``transformers``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from HanTa import HanoverTagger
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
)
from transformers.utils import logging as transformers_logging

from tgl_e2e.config import TextConfig
from tgl_e2e.errors import InputError
from tgl_e2e.model.features import Tensors

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # RoBERTa's ids 0 to 4
# What stands between spaces, without punctuation around it.
WORD = re.compile(r"""[^\s.,;:!?"'()](?:\S*[^\s.,;:!?"'()])?""")
CAPITAL = re.compile(r"[A-Z][A-Za-z]|[a-z][A-Z]")  # inside a token of several letters
SIZES = {  # of TextConfig, and transformers' names for them
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
}
TOKENIZER_FILES = ("vocab.json", "merges.txt")


@dataclass
class TextTokens(Tensors):
    """Tokenised sentences. ids: (B, L) long; mask: (B, L) bool, False at padding; verb_mask:
    (B, L) bool, True at tokens of verbs (of all words where a sentence has none)."""

    ids: Tensor
    mask: Tensor
    verb_mask: Tensor


@lru_cache(maxsize=1)
def _tagger() -> HanoverTagger.HanoverTagger:
    return HanoverTagger.HanoverTagger("morphmodel_en.pgz")


@lru_cache(maxsize=8192)
def verb_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Character spans of the verb-related words of a sentence.

    HanTa's tags VV* (lexical verbs of the BNC tag set), and any word in -ing.
    """
    words = [match.span() for match in WORD.finditer(text)]
    if not words:
        return ()
    # In capitals all words would be names.
    spoken = text.lower() if text.isupper() else text
    tags = [tag for _, _, tag in _tagger().tag_sent([spoken[a:b] for a, b in words])]
    return tuple(
        (start, end)
        for (start, end), tag in zip(words, tags, strict=True)
        if tag.startswith("VV") or (text[start:end].lower().endswith("ing") and end - start > 4)
    )


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: str | Path) -> None:
    """Trains a byte-level BPE in RoBERTa's file format: ``vocab.json`` and ``merges.txt``."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts,
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        show_progress=False,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder (RoBERTa's vocab.json and merges.txt, or a tokenizer.json as newer
    transformers write it), or on the hub."""
    folder = Path(source)
    if not folder.is_dir() or (folder / "tokenizer.json").is_file():
        return _from_hub(str(source), AutoTokenizer)
    for name in TOKENIZER_FILES:
        if not (folder / name).is_file():
            raise InputError(
                f"tokenizer {folder}: {name} is missing; it belongs beside the "
                "weights (RoBERTa's byte-level BPE), or a tokenizer.json does"
            )
    return _from_hub(str(source), RobertaTokenizer)


def _from_hub(source: str, cls: type, **arguments):
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it prints a table of what it does not need
    transformers_logging.disable_progress_bar()
    try:
        return cls.from_pretrained(source, **arguments)
    except Exception as error:  # offline, gated, not found, damaged: one remedy for all
        remedy = (
            "the folder is damaged or holds another architecture; copy it again"
            if Path(source).is_dir()
            else "download that repository and set text.base to the folder"
        )
        raise InputError(
            f"text encoder {source!r} could not be loaded ({type(error).__name__}); {remedy}"
        ) from None
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()


def knows_lower_case_alone(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether capitals are torn into bytes: no token but single letters has any."""
    special = set(tokenizer.all_special_tokens)
    return not any(CAPITAL.search(token) for token in set(tokenizer.get_vocab()) - special)


def load_encoder(base: str) -> PreTrainedModel:
    """Weights from a folder saved by ``save_pretrained`` or from the hub."""
    folder = Path(base)
    if folder.exists() and not (folder / "config.json").is_file():
        raise InputError(
            f"text encoder {base}: no config.json in it; give a folder written by save_pretrained"
        )
    encoder, report = _from_hub(
        base,
        AutoModel,
        add_pooling_layer=False,
        attn_implementation="sdpa",
        dtype=torch.float32,
        output_loading_info=True,
    )
    if report["missing_keys"]:  # transformers would go on with random weights
        raise InputError(
            f"text encoder {base}: tensor {min(report['missing_keys'])!r} is missing; the "
            "file is damaged or belongs to another architecture"
        )
    return _checked(encoder)


def new_encoder(text: TextConfig) -> PreTrainedModel:
    """An encoder of random weights; transformers' defaults for the rest."""
    values = {"max_position_embeddings": text.max_tokens}
    if text.architecture == "roberta":
        values = {
            "max_position_embeddings": text.max_tokens + 2,  # its positions start after padding's
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        }
    values |= {theirs: getattr(text, ours) for ours, theirs in SIZES.items()}
    try:
        config = AutoConfig.for_model(
            text.architecture,
            hidden_dropout_prob=text.dropout,
            attention_probs_dropout_prob=text.dropout,
            **values,
        )
    except ValueError:
        raise InputError(
            f"text.architecture {text.architecture!r} is none of transformers'; use 'roberta' or "
            "'bert'"
        ) from None
    config._attn_implementation = "sdpa"
    return _checked(AutoModel.from_config(config, add_pooling_layer=False))


def _checked(encoder: PreTrainedModel) -> PreTrainedModel:
    if not hasattr(encoder, "embeddings") or not hasattr(getattr(encoder, "encoder", 0), "layer"):
        raise InputError(
            f"text.base: {type(encoder).__name__} is not built as BERT is (embeddings, then "
            "encoder.layer); use RoBERTa, BERT or MiniLM"
        )
    return encoder


def encoder_sizes(encoder: PreTrainedModel) -> dict[str, int | str]:
    """The values of ``TextConfig`` that given weights decide."""
    config = encoder.config
    positions = config.max_position_embeddings
    return {
        "architecture": config.model_type,
        "max_tokens": positions - 2 if config.model_type == "roberta" else positions,
        **{ours: getattr(config, theirs) for ours, theirs in SIZES.items()},
    }


class TextEncoder(nn.Module):
    """RoBERTa or BERT, run a few layers at a time so that adapters can stand between them.

    Args:
        encoder: without pooler. Its weights bear transformers' prefix for it (``roberta.``).
        tokenizer: its tokenizer.
        max_tokens: longest expression in tokens, [CLS] and [SEP] included.
    """

    def __init__(
        self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        super().__init__()
        self.prefix: str = encoder.base_model_prefix
        self.add_module(self.prefix, encoder)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.dim: int = encoder.config.hidden_size
        self._lower = knows_lower_case_alone(tokenizer)

    @property
    def encoder(self) -> PreTrainedModel:
        return getattr(self, self.prefix)

    def check(self, texts: list[str]) -> BatchEncoding:
        """The tokens; InputError for an empty sentence or one longer than the encoder takes."""
        texts = self._as_trained(texts)
        for text in texts:
            if not text.strip():
                raise InputError(
                    'the text is empty; say what to look for, for example "the dog that jumps"'
                )
        encoded = self.tokenizer(texts, padding=True, return_offsets_mapping=True)
        for text, row in zip(texts, encoded["attention_mask"], strict=True):
            if sum(row) > self.max_tokens:
                raise InputError(
                    f"the text {text[:40]!r}... has {sum(row)} tokens; the encoder "
                    f"takes {self.max_tokens}: shorten it"
                )
        return encoded

    def _as_trained(self, texts: list[str]) -> list[str]:
        """Letters as the tokenizer met them when it was trained."""
        return [text.lower() for text in texts] if self._lower else texts

    def tokenize(self, texts: list[str]) -> TextTokens:
        """Raises InputError as :meth:`check` does."""
        texts = self._as_trained(texts)
        encoded = self.check(texts)
        ids = torch.tensor(encoded["input_ids"])
        mask = torch.tensor(encoded["attention_mask"], dtype=torch.bool)
        verbs = torch.zeros_like(mask)
        for row, (text, offsets) in enumerate(zip(texts, encoded["offset_mapping"], strict=True)):
            for column, (start, end) in enumerate(offsets):
                verbs[row, column] = any(start < e and s < end for s, e in verb_spans(text))
            if not verbs[row].any():
                verbs[row] = torch.tensor([start < end for start, end in offsets])
        return TextTokens(ids, mask, verbs)

    def embed(self, tokens: TextTokens) -> Tensor:
        """Token embeddings (B, L, D)."""
        return self.encoder.embeddings(input_ids=tokens.ids)

    def layers(self, hidden: Tensor, mask: Tensor, start: int, end: int) -> Tensor:
        """Layers start (inclusive) to end (exclusive): (B, L, D) -> (B, L, D)"""
        attention_mask = mask[:, None, None, :].expand(-1, -1, mask.shape[1], -1)  # (B, 1, L, L)
        for layer in self.encoder.encoder.layer[start:end]:
            hidden = layer(hidden, attention_mask)
        return hidden

    def sentence_embedding(self, tokens: TextTokens) -> Tensor:
        """Mean over the tokens after the last layer, as sentence-transformers pools: (B, D)"""
        layers = self.encoder.config.num_hidden_layers
        hidden = self.layers(self.embed(tokens), tokens.mask, 0, layers)
        weight = tokens.mask[..., None].to(hidden.dtype)
        return (hidden * weight).sum(dim=1) / weight.sum(dim=1)

    def save_tokenizer(self, folder: str | Path) -> None:
        """Writes the tokenizer's files beside the weights: RoBERTa's vocab.json and merges.txt, or
        tokenizer.json and tokenizer_config.json."""
        if isinstance(self.tokenizer, RobertaTokenizer):
            self.tokenizer.backend_tokenizer.model.save(str(folder))
        else:
            self.tokenizer.save_pretrained(str(folder))

"""The network's configuration: plain dataclasses, written to and read from ``config.json``.

Only :class:`~tgl_e2e.model.tgl.TGL` and the entry points see a configuration; the modules below
them take explicit arguments.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgl_e2e.config.values import from_dict as from_dict
from tgl_e2e.config.values import preset_names as preset_names
from tgl_e2e.config.values import read_preset as read_preset
from tgl_e2e.config.values import setting
from tgl_e2e.errors import InputError

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class VisionConfig:
    """SAM2: which architecture, which weights, which size."""

    base: str | None = setting(
        None,
        "SAM2.1 weights: hub id (facebook/sam2.1-hiera-base-plus) or .pt file; "
        "null trains from scratch",
    )
    architecture: str = setting(
        "sam2.1_hiera_b+", "name of a SAM2.1 or SAM2 yaml inside the sam2 package"
    )
    overrides: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "nested values laid over that yaml (sizes of a network from scratch)"},
    )
    trunk: str | None = setting(
        None,
        "in place of the yaml's Hiera: timm/NAME, a backbone of timm with maps at "
        "strides 4 to 32; base then names its weights (a hub id of timm's, or a file)",
    )
    prior: bool = setting(
        False,
        "semantic prior: the timm trunk's own classes per cell, in the space of the "
        "text encoder, as an input of F_Adp",
    )
    prior_dim: int = setting(
        0, "width of what the prior learns beyond those classes (stage nouns); 0: nothing"
    )
    image_size: int = setting(1024, "side S that frames are resized to")
    fit: str = setting(
        "stretch",
        "'stretch': frames are resized to S x S; 'pad': their longer side to S, with "
        "the mean colour right and below",
    )


@dataclass(frozen=True)
class TextConfig:
    """The text encoder: which weights; the sizes of one from scratch (otherwise the base's)."""

    base: str | None = setting(
        None,
        "weights: hub id (FacebookAI/roberta-base, sentence-transformers/"
        "all-MiniLM-L6-v2) or folder, "
        "which also decides the sizes; null trains from scratch",
    )
    architecture: str = setting("roberta", "transformers' name of it: roberta or bert")
    vocab_size: int = 50265
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_tokens: int = setting(512, "longest text, special tokens included")
    dropout: float = 0.1
    adapter_layers: tuple[int, ...] = setting(
        (4, 8, 12), "an adapter stands after each of these layers"
    )


@dataclass(frozen=True)
class AdapterConfig:
    """Cross-modal adapters (Eq. 1), one after each of the last three trunk stages."""

    kind: str = setting("tgl", "'tgl', or 'samwise' (SAMWISE's, so that its weights fit)")
    dim: int = setting(256, "width of the down-projected streams")
    num_heads: int = 8
    temporal: bool = setting(True, "tokens of one patch attend to each other over all frames")
    patch_sizes: tuple[int, ...] = setting(
        (8, 4, 2), "side P of those patches, per adapter, in tokens"
    )
    difference: bool = setting(
        False, "depth-wise convolution over time that starts as differences of frames"
    )
    places: bool = setting(False, "tokens are told where in the picture they are")


@dataclass(frozen=True)
class PromptConfig:
    """The text prompt (Eq. 2)."""

    kind: str = setting("tgl", "'tgl' ([CLS] and verbs), 'samwise' ([CLS]), 'samwise-verbs' (both)")


@dataclass(frozen=True)
class TAMConfig:
    """Temporal Alignment Module (A.2.2)."""

    enabled: bool = setting(
        True, "false: none, M+ must be given or be all frames (SAMWISE's networks)"
    )
    dim: int = 256
    num_heads: int = 8
    num_layers: int = 1
    pooling: str = setting(
        "mean",
        "frame query from the feature map: 'mean', 'text' (attention pooling steered "
        "by the sentence) or 'place' (the same, with each cell's place in the picture)",
    )
    moves: float = setting(
        0.0,
        "frame queries are told how what they attend to moves: displacements that are looked for "
        "within this share of the picture's side; 0: they are not",
    )
    smooth: int = setting(
        1,
        "in inference scores are averaged over so many neighbouring frames, each "
        "seen in another window; an odd number",
    )


@dataclass(frozen=True)
class MemoryConfig:
    """Memory bank of MDP (Eq. 4 and 5) and its ablations."""

    num_memories: int = setting(6, "nearest entries a frame attends to")
    num_pointers: int = setting(16, "nearest object pointers")
    pool: int = setting(
        1, "2 keeps memories averaged over 2 x 2 cells: attention to them costs a fourth"
    )
    bank: str = setting("relevant", "'relevant': M+ frames only; 'all': every frame")
    present_only: bool = setting(
        False,
        "inference: an M+ frame in which no object was found is not remembered "
        "and takes the path of M- frames (never with bank 'all' or where a "
        "target is promised)",
    )
    anchor: float = setting(
        0.0,
        "inference with the network's own M+: memory begins at a frame whose "
        "relevance is at least this share of the video's highest (the first such "
        "frame of its block), and earlier frames come after it; 0: at the first "
        "M+ frame",
    )
    mfe: bool = setting(True, "moment-aware feature extraction: M- frames use F_SAM, not F_Adp")
    conditional: bool = setting(False, "inference: SAMWISE's conditional memory encoding (CME)")
    dual_path: bool = setting(True, "false: every frame takes the language path (the baseline)")


@dataclass(frozen=True)
class TGLConfig:
    """The whole network.

    Args:
        window: frames that temporal modules see at once (T of a training clip).
        block: frames of one stretch of video from which a window is dealt; training clips are
            drawn from stretches of at most this many frames.
    """

    name: str = "hiera-b"
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    tam: TAMConfig = field(default_factory=TAMConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    freeze_bases: bool = setting(
        True,
        "keep the bases as they were loaded: image encoder, prompt encoder and text "
        "encoder; around a timm trunk, the trunk and the text encoder",
    )
    window: int = 8
    block: int = 64
    windows: str = setting(
        "dealt", "'dealt': of n windows each sees every n-th frame of a block; 'contiguous'"
    )

    def __post_init__(self) -> None:
        if len(self.text.adapter_layers) != 3 or len(self.adapter.patch_sizes) != 3:
            raise InputError("text.adapter_layers and adapter.patch_sizes need three entries each")
        if list(self.text.adapter_layers) != sorted(set(self.text.adapter_layers)):
            raise InputError(f"text.adapter_layers {self.text.adapter_layers} must ascend")
        if min(self.adapter.patch_sizes) < 1:
            raise InputError(f"adapter.patch_sizes {self.adapter.patch_sizes} must be positive")
        for part, name in ((self.adapter, "adapter"), (self.tam, "tam")):
            if part.num_heads < 1 or part.dim % part.num_heads or part.dim % 4:
                raise InputError(
                    f"{name}.dim {part.dim} must be a multiple of {name}.num_heads "
                    f"{part.num_heads} and of 4"
                )
        if max(self.text.adapter_layers) > self.text.num_layers:
            raise InputError(f"text.adapter_layers exceed text.num_layers {self.text.num_layers}")
        side = self.vision.image_size
        if side < 32 or side % 32:
            raise InputError(f"vision.image_size is {side}; give a multiple of 32, 32 or more")
        if self.vision.prior and self.vision.trunk is None:
            raise InputError("vision.prior needs a classifier: set vision.trunk to timm/NAME")
        for where, value, known in (
            ("vision.fit", self.vision.fit, ("stretch", "pad")),
            ("adapter.kind", self.adapter.kind, ("tgl", "samwise")),
            ("prompt.kind", self.prompt.kind, ("tgl", "samwise", "samwise-verbs")),
            ("windows", self.windows, ("dealt", "contiguous")),
            ("tam.pooling", self.tam.pooling, ("mean", "text", "place")),
            ("memory.bank", self.memory.bank, ("relevant", "all")),
        ):
            if value not in known:
                raise InputError(f"{where} is {value!r}; use {' or '.join(map(repr, known))}")
        if not 0 <= self.tam.moves < 1:
            raise InputError(f"tam.moves is {self.tam.moves}; give a share, from 0 to below 1")
        if self.tam.moves and self.tam.pooling == "mean":
            raise InputError("tam.moves needs a tam.pooling that attends: text or place")
        if self.windows == "contiguous" and self.block % self.window:
            raise InputError(
                f"block {self.block} must be a multiple of window {self.window} where windows are "
                "contiguous"
            )
        if not 0 <= self.memory.anchor <= 1:
            raise InputError(f"memory.anchor is {self.memory.anchor}; give a share, from 0 to 1")
        if self.memory.pool not in (1, 2):
            raise InputError(f"memory.pool is {self.memory.pool}; use 1 (as SAM2) or 2")
        if self.tam.smooth < 1 or self.tam.smooth % 2 == 0:
            raise InputError(f"tam.smooth is {self.tam.smooth}; give an odd number of frames")
        if not 1 <= self.window <= self.block:
            raise InputError(f"window ({self.window}) must lie between 1 and block ({self.block})")

    @classmethod
    def from_preset(cls, name: str) -> TGLConfig:
        """``tiny``, ``hiera-b`` or ``hiera-l``: the ``model`` part of a file in ``presets/``."""
        return cls.from_dict(read_preset(name)["model"])

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TGLConfig:
        """Strict: an unknown key is an :class:`InputError` that names it."""
        return from_dict(cls, values, "config")

    @classmethod
    def load(cls, folder: str | Path) -> TGLConfig:
        """Reads ``folder/config.json``."""
        path = Path(folder) / CONFIG_NAME
        if not path.is_file():
            raise InputError(
                f"checkpoint {folder}: no {CONFIG_NAME} in it; give a folder written "
                "by save_pretrained (config.json and model.safetensors)"
            )
        try:
            values = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid JSON ({error}); restore the file") from None
        return cls.from_dict(values.get("model", values) if isinstance(values, dict) else values)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as ``config.json`` holds them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def with_values(self, **changes: Any) -> TGLConfig:
        """A copy with dotted keys replaced: ``with_values(**{"memory.bank": "all"})``."""
        values = self.to_dict()
        for key, value in changes.items():
            *parents, last = key.split(".")
            node = values
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            if not isinstance(node, dict) or last not in node:
                raise InputError(f"unknown configuration value {key!r}")
            node[last] = value
        return type(self).from_dict(values)

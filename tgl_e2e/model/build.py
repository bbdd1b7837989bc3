"""Assembly: from a configuration to the parts that :class:`~tgl_e2e.model.tgl.TGL` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tgl_e2e.config import TGLConfig, VisionConfig
from tgl_e2e.errors import InputError
from tgl_e2e.model.adapter import CrossModalAdapter
from tgl_e2e.model.bases import load_sam_weights, load_timm_weights
from tgl_e2e.model.prior import SemanticPrior
from tgl_e2e.model.prompt import TextPrompt
from tgl_e2e.model.samwise import ConditionalMemory, SamwiseAdapter, SamwisePrompt
from tgl_e2e.model.tam import TemporalAlignmentModule
from tgl_e2e.model.text import TextEncoder, encoder_sizes, load_encoder, load_tokenizer, new_encoder
from tgl_e2e.model.trunk import TimmTrunk
from tgl_e2e.model.vision import Vision

DEFAULT_TOKENIZER = Path(__file__).parent.parent / "presets" / "tokenizer"
PROMPTS = {
    "tgl": TextPrompt,
    "samwise": SamwisePrompt,
    "samwise-verbs": partial(SamwisePrompt, verbs=True),
}
TIMM = "timm/"  # before the name of a trunk


@dataclass
class Parts:
    """What a network is made of; config: as given, with the sizes that loaded weights decide."""

    config: TGLConfig
    vision: Vision
    text: TextEncoder
    adapters: nn.ModuleList
    prompt: TextPrompt | SamwisePrompt
    tam: TemporalAlignmentModule | None
    prior: SemanticPrior | None
    conditional: ConditionalMemory | None


def build_parts(config: TGLConfig, pretrained: bool, tokenizer: str | Path | None) -> Parts:
    """
    Args:
        pretrained: load the bases that the config names; False builds random weights.
        tokenizer: folder of a tokenizer; by default that of ``text.base``, or the one shipped with
            the package where no base is loaded.

    Raises:
        InputError: values that do not fit each other, or bases that cannot be loaded.
    """
    sam = build_sam(config.vision)
    if pretrained and config.vision.base is not None:
        load_trunk = load_sam_weights if config.vision.trunk is None else load_timm_weights
        load_trunk(sam, config.vision.base)
    memory = config.memory
    vision = Vision(
        sam, memory.num_memories, memory.num_pointers, memory.pool, config.vision.fit == "pad"
    )
    text = build_text(config, pretrained, tokenizer)
    # config.json must fit the weights that are saved beside it
    sizes = encoder_sizes(text.encoder) if pretrained and config.text.base is not None else {}
    config = config.with_values(**{f"text.{name}": size for name, size in sizes.items()})
    layers = text.encoder.config.num_hidden_layers
    if max(config.text.adapter_layers) != layers:
        raise InputError(
            f"text.adapter_layers {config.text.adapter_layers} must end at the last of "
            f"the encoder's {layers} layers"
        )
    prior = None
    if config.vision.prior:
        prior = SemanticPrior(
            sam.image_encoder.trunk, text.dim, config.vision.prior_dim, vision.dim
        )
        if pretrained and None not in (config.vision.base, config.text.base):
            prior.name_classes(text.eval())
    return Parts(
        config=config,
        vision=vision,
        text=text,
        adapters=build_adapters(config, vision, text.dim),
        prompt=PROMPTS[config.prompt.kind](text.dim, vision.dim),
        tam=build_tam(config, vision, text.dim) if config.tam.enabled else None,
        prior=prior,
        conditional=ConditionalMemory(vision.dim) if memory.conditional else None,
    )


def build_tam(config: TGLConfig, vision: Vision, text_dim: int) -> TemporalAlignmentModule:
    tam = config.tam
    sizes = (vision.stage_dims[3], text_dim, tam.dim, tam.num_heads, tam.num_layers)
    return TemporalAlignmentModule(*sizes, tam.pooling, tam.moves)


def build_adapters(config: TGLConfig, vision: Vision, text_dim: int) -> nn.ModuleList:
    """One adapter for each of the last three stages of the trunk."""
    adapter, adapters = config.adapter, nn.ModuleList()
    for stage, patch in enumerate(adapter.patch_sizes, start=1):
        side = vision.image_size // 2 ** (stage + 2)
        if adapter.temporal and side % patch:
            raise InputError(
                f"adapter.patch_sizes: {patch} does not divide the {side} x {side} map of trunk "
                f"stage {stage + 1} at image_size {vision.image_size}"
            )
        temporal = patch if adapter.temporal else None
        sizes = (vision.stage_dims[stage], text_dim, adapter.dim, adapter.num_heads, temporal)
        if adapter.kind == "samwise":
            adapters.append(SamwiseAdapter(*sizes))
        else:
            adapters.append(CrossModalAdapter(*sizes, adapter.difference, adapter.places))
    return adapters


def build_text(config: TGLConfig, pretrained: bool, tokenizer: str | Path | None) -> TextEncoder:
    """The text encoder with its tokenizer."""
    text = config.text
    load = pretrained and text.base is not None
    tokens = load_tokenizer(tokenizer or (text.base if load else DEFAULT_TOKENIZER))
    encoder = load_encoder(text.base) if load else new_encoder(text)
    if len(tokens) > encoder.config.vocab_size:
        raise InputError(
            f"the tokenizer has {len(tokens)} tokens, more than text.vocab_size "
            f"{encoder.config.vocab_size}; use the tokenizer of these weights"
        )
    longest = encoder_sizes(encoder)["max_tokens"] if load else text.max_tokens
    return TextEncoder(encoder, tokens, longest)


# --- SAM2 -----------------------------------------------------------------------------------


def sam_config(vision: VisionConfig) -> DictConfig:
    """One of sam2's own yaml files, at our image size and with our trunk and overrides."""
    release = vision.architecture.partition("_")[0]  # sam2.1 or sam2
    path = resources.files("sam2") / "configs" / release / f"{vision.architecture}.yaml"
    if not path.is_file():
        raise InputError(
            f"vision.architecture {vision.architecture!r} is not a yaml of the sam2 package; use "
            "for example 'sam2.1_hiera_b+'"
        )
    _check_overrides(vision.overrides)
    config = OmegaConf.load(str(path)).model
    side = vision.image_size // 16
    attention = {"feat_sizes": [side, side]}
    changes: dict[str, Any] = {
        "image_size": vision.image_size,
        "memory_attention": {"layer": {"self_attention": attention, "cross_attention": attention}},
    }
    if vision.trunk is not None:
        if not vision.trunk.startswith(TIMM):
            raise InputError(
                f"vision.trunk is {vision.trunk!r}; give timm/NAME, such as "
                "timm/tf_efficientnet_lite0, or leave it out for SAM2's Hiera"
            )
        name = vision.trunk.removeprefix(TIMM)
        config.image_encoder.trunk = {
            "_target_": f"{TimmTrunk.__module__}.{TimmTrunk.__qualname__}",
            "name": name,
            "classifier": vision.prior,
        }
        config.image_encoder.neck.backbone_channel_list = TimmTrunk(name).channel_list
    return OmegaConf.merge(config, changes, vision.overrides)


def build_sam(vision: VisionConfig) -> nn.Module:
    """A SAM2Base on the CPU with random weights.

    Instantiated from the yaml: sam2's builder defaults to CUDA and adds dynamic multimask, which
    our single-mask output does not use.
    """
    config = sam_config(vision)
    try:
        return hydra.utils.instantiate(config)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        lines = [line for line in str(error).splitlines() if line]
        raise InputError(
            f"vision.overrides do not fit {vision.architecture!r}: {' '.join(lines)[:200]}"
        ) from None


def _check_overrides(value: Any) -> None:
    """Keys such as ``_target_``, and interpolations, would let a checkpoint's config.json call any
    function: only plain numbers, words, lists and mappings pass."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).startswith("_"):
                raise InputError(
                    f"vision.overrides: key {key!r} is not allowed; overrides hold "
                    "values of the sam2 yaml only"
                )
            _check_overrides(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_overrides(inner)
    elif not (value is None or isinstance(value, (bool, int, float, str))) or "$" in str(value):
        raise InputError(
            f"vision.overrides: {value!r} is not allowed; overrides hold values of "
            "the sam2 yaml only"
        )

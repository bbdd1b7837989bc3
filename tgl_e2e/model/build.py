"""Assembly: from a configuration to the parts that :class:`~tgl_e2e.model.tgl.TGL` is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import hydra.utils
import timm
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import nn

from tgl_e2e.config import TGLConfig, VisionConfig
from tgl_e2e.errors import InputError
from tgl_e2e.model.adapter import CrossModalAdapter
from tgl_e2e.model.prior import SemanticPrior
from tgl_e2e.model.prompt import TextPrompt
from tgl_e2e.model.tam import TemporalAlignmentModule
from tgl_e2e.model.text import TextEncoder, encoder_sizes, load_encoder, load_tokenizer, new_encoder
from tgl_e2e.model.trunk import TimmTrunk
from tgl_e2e.model.vision import Vision

DEFAULT_TOKENIZER = Path(__file__).parent.parent / "presets" / "tokenizer"
HUB_FILES = {
    "facebook/sam2.1-hiera-tiny": "sam2.1_hiera_tiny.pt",
    "facebook/sam2.1-hiera-small": "sam2.1_hiera_small.pt",
    "facebook/sam2.1-hiera-base-plus": "sam2.1_hiera_base_plus.pt",
    "facebook/sam2.1-hiera-large": "sam2.1_hiera_large.pt",
}
TIMM = "timm/"  # before the name of a trunk


@dataclass
class Parts:
    """What a network is made of; config: as given, with the sizes that loaded weights decide."""

    config: TGLConfig
    vision: Vision
    text: TextEncoder
    adapters: nn.ModuleList
    prompt: TextPrompt
    tam: TemporalAlignmentModule
    prior: SemanticPrior | None


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
    vision = Vision(sam, memory.num_memories, memory.num_pointers, memory.pool)
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
        prior = SemanticPrior(sam.image_encoder.trunk, text.dim)
        if pretrained and None not in (config.vision.base, config.text.base):
            prior.name_classes(text.eval())
    return Parts(
        config=config,
        vision=vision,
        text=text,
        adapters=build_adapters(config, vision, text.dim),
        prompt=TextPrompt(text.dim, vision.dim),
        tam=TemporalAlignmentModule(
            vision.stage_dims[3],
            text.dim,
            config.tam.dim,
            config.tam.num_heads,
            config.tam.num_layers,
            config.tam.pooling,
        ),
        prior=prior,
    )


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
        adapters.append(
            CrossModalAdapter(
                vision.stage_dims[stage],
                text_dim,
                adapter.dim,
                adapter.num_heads,
                patch if adapter.temporal else None,
                adapter.difference,
            )
        )
    return adapters


def build_text(config: TGLConfig, pretrained: bool, tokenizer: str | Path | None) -> TextEncoder:
    """The text encoder with its tokenizer."""
    text = config.text
    load = pretrained and text.base is not None
    tokens = load_tokenizer(tokenizer or (text.base if load else DEFAULT_TOKENIZER))
    encoder = (
        load_encoder(text.base)
        if load
        else new_encoder(
            text.architecture,
            text.vocab_size,
            text.hidden_size,
            text.num_layers,
            text.num_heads,
            text.intermediate_size,
            text.max_tokens,
            text.dropout,
        )
    )
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
    path = resources.files("sam2") / "configs" / "sam2.1" / f"{vision.architecture}.yaml"
    if not path.is_file():
        raise InputError(
            f"vision.architecture {vision.architecture!r} is not a SAM2.1 yaml of the sam2 "
            "package; use for example 'sam2.1_hiera_b+'"
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


def load_sam_weights(sam: nn.Module, base: str) -> None:
    """Loads ``{"model": state_dict}``, SAM2's official format, from a .pt file or the hub.

    Raises:
        InputError: nothing there, no network, not that format, or other tensors than ``sam`` has.
    """
    path = base if os.path.exists(base) else _download(base)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise InputError(
            f"SAM2 weights {path}: not a readable checkpoint ({reason}); use the official .pt"
        ) from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"SAM2 weights {path}: no 'model' entry; use SAM2's official .pt format")
    state = state["model"]
    expected = sam.state_dict()
    for name, value in expected.items():
        if name not in state:
            raise InputError(
                f"SAM2 weights {path}: tensor {name!r} is missing; they belong to "
                "another architecture than vision.architecture"
            )
        if state[name].shape != value.shape:
            raise InputError(
                f"SAM2 weights {path}: tensor {name!r} is {tuple(state[name].shape)}, "
                f"expected {tuple(value.shape)}; set vision.architecture to match"
            )
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise InputError(
            f"SAM2 weights {path}: unexpected tensor {unknown[0]!r}; they belong to "
            "another architecture than vision.architecture"
        )
    sam.load_state_dict(state)


def _download(base: str) -> str:
    from huggingface_hub import hf_hub_download

    if base not in HUB_FILES:
        raise InputError(
            f"SAM2 weights {base!r}: neither a file nor a known hub id; give the path "
            f"of a .pt file or one of {', '.join(HUB_FILES)}"
        )
    try:
        return hf_hub_download(repo_id=base, filename=HUB_FILES[base])
    except Exception as error:  # offline, gated, not found: one remedy for all
        raise InputError(
            f"SAM2 weights {base!r} could not be downloaded "
            f"({type(error).__name__}); download {HUB_FILES[base]} of {base} "
            "and set vision.base to its path"
        ) from None


def load_timm_weights(sam: nn.Module, base: str) -> None:
    """Loads a timm trunk with its classifier: ``timm`` or a hub id of timm's, or a file of its
    state dict (safetensors, or .pth as efficientnet-lite's original authors name the tensors).

    Raises:
        InputError: nothing there, or other tensors than the trunk has.
    """
    trunk = sam.image_encoder.trunk
    name = trunk.net.pretrained_cfg["architecture"]
    if not os.path.exists(base):
        try:
            cached = None if base == "timm" else {"hf_hub_id": base, "source": "hf-hub"}
            state = timm.create_model(
                name, pretrained=True, pretrained_cfg_overlay=cached
            ).state_dict()
        except Exception as error:  # offline, gated, not found: one remedy for all
            raise InputError(
                f"weights of {name} ({base}) could not be downloaded ({type(error).__name__}); "
                "download them and set vision.base to the file"
            ) from None
    else:
        try:
            safe = base.endswith(".safetensors")
            state = load_file(base) if safe else torch.load(base, "cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            raise InputError(
                f"trunk weights {base}: not a readable file of tensors ({type(error).__name__}); "
                "give a .safetensors or .pth state dict"
            ) from None
    whole = timm.create_model(name, pretrained=False).state_dict()
    if set(state) != set(whole):  # the same tensors in the same order under other names
        if [v.shape for v in state.values()] != [v.shape for v in whole.values()]:
            raise InputError(
                f"trunk weights {base}: not those of {name}; set vision.trunk to match"
            )
        state = dict(zip(whole, state.values(), strict=True))
    own = trunk.net.state_dict()
    trunk.net.load_state_dict({key: state[key] for key in own})

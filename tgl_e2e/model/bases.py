"""Weights of the vision base, from where they are published: SAM2's, and trunks of timm."""

from __future__ import annotations

import os
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from tgl_e2e.errors import InputError
from tgl_e2e.model.tensors import check_tensors

HUB_FILES = {
    "facebook/sam2.1-hiera-tiny": "sam2.1_hiera_tiny.pt",
    "facebook/sam2.1-hiera-small": "sam2.1_hiera_small.pt",
    "facebook/sam2.1-hiera-base-plus": "sam2.1_hiera_base_plus.pt",
    "facebook/sam2.1-hiera-large": "sam2.1_hiera_large.pt",
}


def load_sam_weights(sam: nn.Module, base: str) -> None:
    """Loads ``{"model": state_dict}``, SAM2's official format, from a .pt file or the hub.

    Raises:
        InputError: nothing there, no network, not that format, or other tensors than ``sam`` has.
    """
    path = base if os.path.exists(base) else _download(base)
    state = _read(path, f"SAM2 weights {path}: not a readable checkpoint", "use the official .pt")
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"SAM2 weights {path}: no 'model' entry; use SAM2's official .pt format")
    state = state["model"]
    remedy = "set vision.architecture to the one that they belong to"
    check_tensors(state, sam.state_dict(), f"SAM2 weights {path}", remedy)
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
        remedy = "give a .safetensors or .pth state dict"
        state = _read(base, f"trunk weights {base}: not a readable file of tensors", remedy)
    whole = timm.create_model(name, pretrained=False).state_dict()
    if set(state) != set(whole):  # the same tensors in the same order under other names
        if [v.shape for v in state.values()] != [v.shape for v in whole.values()]:
            raise InputError(
                f"trunk weights {base}: not those of {name}; set vision.trunk to match"
            )
        state = dict(zip(whole, state.values(), strict=True))
    own = trunk.net.state_dict()
    trunk.net.load_state_dict({key: state[key] for key in own})


def _read(path: str, problem: str, remedy: str) -> Any:
    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise InputError(f"{problem} ({reason}); {remedy}") from None

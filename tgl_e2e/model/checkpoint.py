"""Writing and strict reading of ``config.json`` + ``model.safetensors`` + tokenizer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tgl_e2e.config import CONFIG_NAME, TGLConfig
from tgl_e2e.errors import InputError
from tgl_e2e.files import replacing, write_text
from tgl_e2e.model.tensors import check_tensors
from tgl_e2e.model.trained import is_base

WEIGHTS_NAME = "model.safetensors"
BASES_NAME = "bases-{}.safetensors"  # the frozen bases by part, which no training changes
FORMAT = "tgl_e2e-1"
Network = TypeVar("Network", bound=nn.Module)


def _leaves_bases_out(config: TGLConfig) -> bool:
    return config.freeze_bases and None not in (config.vision.base, config.text.base)


def save_checkpoint(
    model: nn.Module,
    folder: str | Path,
    include_frozen: bool | None,
    dtype: torch.dtype | None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """See :meth:`TGL.save_pretrained`. Each file appears whole or not at all.

    Args:
        state: the weights, where the module itself holds only shards of them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if include_frozen is None:
        include_frozen = not (model.config.freeze_bases and model.bases_from_config)
    elif not include_frozen and not _leaves_bases_out(model.config):
        raise InputError(
            "include_frozen=False would lose the bases: freeze_bases, vision.base and "
            "text.base do not say where to load them from again"
        )
    config = model.config
    state = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for name, value in (state or model.state_dict()).items()
    }
    bases = {name: state.pop(name) for name in list(state) if is_base(name, config)}
    if include_frozen and not config.freeze_bases:
        state |= bases
    elif include_frozen:
        for part in sorted({name.partition(".")[0] for name in bases}):
            own = {name: value for name, value in bases.items() if name.startswith(f"{part}.")}
            _write(own, folder / BASES_NAME.format(part), {"format": FORMAT})
        config = _without_local_bases(config)
    metadata = {"format": FORMAT, "includes_bases": str(include_frozen).lower()}
    _write(state, folder / WEIGHTS_NAME, metadata)
    model.text.save_tokenizer(folder)
    write_text(folder / CONFIG_NAME, json.dumps(config.to_dict(), indent=2) + "\n")


def _write(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    with replacing(path) as partial:
        save_file(state, str(partial), metadata=metadata)


def _without_local_bases(config: TGLConfig) -> TGLConfig:
    """Names of bases that are files of this machine would mean nothing on another."""
    local = {
        name: None
        for name, base in (("vision.base", config.vision.base), ("text.base", config.text.base))
        if base is not None and os.path.exists(base)
    }
    return config.with_values(**local)


def load_checkpoint(
    cls: type[Network], folder: str | Path, device: torch.device | str, dtype: torch.dtype | None
) -> Network:
    """See :meth:`TGL.from_pretrained`."""
    dtype = _precision(dtype)
    folder = _local_folder(folder)
    config = TGLConfig.load(folder)
    state, includes_bases = _read_weights(folder)
    if not includes_bases and not _leaves_bases_out(config):
        raise InputError(
            f"checkpoint {folder}: {WEIGHTS_NAME} leaves the bases out and config.json"
            " does not name them; set vision.base and text.base"
        )
    model = cls(config, pretrained=not includes_bases, tokenizer=folder)
    expected = model.state_dict()
    bases = () if includes_bases else {name for name in expected if is_base(name, config)}
    remedy = "the file is damaged, or belongs to another config.json: use that of these weights"
    check_tensors(state, expected, f"checkpoint {folder}: {WEIGHTS_NAME}", remedy, may_lack=bases)
    model.load_state_dict(state, strict=False)  # the missing ones are the bases, checked above
    model.compute_dtype = dtype
    return model.to(device=device).eval()


def _precision(dtype: torch.dtype | str | None) -> torch.dtype:
    """torch.float32, bfloat16 or float16, also by name; InputError for anything else."""
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    name = str("float32" if dtype is None else dtype).removeprefix("torch.")
    if name not in known:
        raise InputError(f"dtype is {dtype!r}; give one of {', '.join(known)}")
    return known[name]


def _read_weights(folder: Path) -> tuple[dict[str, torch.Tensor], bool]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise InputError(
            f"checkpoint {folder}: no {WEIGHTS_NAME} in it; give a folder written by "
            "save_pretrained"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        state = {}
        for file in (path, *sorted(folder.glob(BASES_NAME.format("*")))):
            state |= load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"checkpoint {path}: not a readable safetensors file ({error}); copy it again"
        ) from None
    return state, metadata.get("includes_bases", "true") == "true"


def _local_folder(folder: str | Path) -> Path:
    path = Path(folder)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(
            f"checkpoint {folder}: not a folder; give the folder that holds "
            f"{CONFIG_NAME} and {WEIGHTS_NAME}"
        )
    if str(folder).count("/") != 1 or str(folder).startswith((".", "/", "~")):
        raise InputError(
            f"checkpoint {folder}: no such folder; give one that holds {CONFIG_NAME} "
            f"and {WEIGHTS_NAME}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(folder)))
    except Exception as error:  # offline, gated, not found: one remedy for all
        raise InputError(
            f"checkpoint {folder}: no such folder, and not to be had from the hub "
            f"({type(error).__name__}); download it and give its folder"
        ) from None

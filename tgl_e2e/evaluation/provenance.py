"""What the numbers of an evaluation come from: arguments, weights, versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "sam2", "transformers", "numpy", "pycocotools")


def decisive(arguments: Mapping[str, Any], checkpoint: str) -> dict[str, Any]:
    """What the result of a video depends on: those of the command's arguments, from a parsed
    command line or from metrics.json, and the network's fingerprint."""
    names = ("dataset", "split", "moments", "threshold", "always_target", "tam_stride", "dtype")
    values = {name: arguments[name] for name in names if name in arguments}
    return {"root": str(Path(arguments["root"]).resolve()), **values, "checkpoint": checkpoint}


def fingerprint(checkpoint: str) -> str:
    """SHA-256 over a checkpoint folder's configuration and weights; the id itself for a hub id."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    digest = hashlib.sha256()
    paths = [folder / "config.json", folder / "model.safetensors"]
    for path in [*paths, *sorted(folder.glob("bases-*.safetensors"))]:
        if path.is_file():
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


def training_of(checkpoint: str) -> dict[str, Any] | None:
    """The values that train.py ran with, from its run.json beside the network; None without."""
    try:
        return json.loads((Path(checkpoint) / "run.json").read_text(encoding="utf-8"))["train"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def versions() -> dict[str, str]:
    from tgl_e2e import __version__

    return {"tgl_e2e": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}}

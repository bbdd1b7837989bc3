"""Plain values, as files and the command line hold them, become dataclasses: strictly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from tgl_e2e.errors import InputError

PRESETS = Path(__file__).parents[1] / "presets"
# Values of earlier versions that did nothing in any network that was shipped.
RETIRED = {"config.adapter": {"regroup"}, "train": {"compile"}}


def setting(default: Any, text: str) -> Any:
    """A field of a configuration with its meaning, for :func:`describe`."""
    return dataclasses.field(default=default, metadata={"help": text})


def describe(config: type, prefix: str = "") -> list[str]:
    """Lines for ``--help``: each value of a configuration with its default and meaning."""
    lines = []
    for item in dataclasses.fields(config):
        factory = item.default_factory
        if dataclasses.is_dataclass(factory):
            lines += describe(factory, f"{prefix}{item.name}.")
            continue
        default = item.default if factory is dataclasses.MISSING else factory()
        lines.append(f"  {prefix}{item.name} ({default})  {item.metadata.get('help', '')}".rstrip())
    return lines


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """The whole preset file: ``model`` (TGLConfig), ``train`` (values of train.py's stages) and
    ``recipe`` (which stages, in which order)."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"unknown preset {name!r}; choose from {', '.join(preset_names())}")
    return yaml.safe_load(path.read_text())


def from_dict(cls: type, values: Any, where: str) -> Any:
    """Builds a (nested) dataclass from plain values; lists become tuples."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a mapping, found {type(values).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values = {k: v for k, v in values.items() if v or k not in RETIRED.get(where, ())}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(fields)}")
    arguments = {}
    for name, value in values.items():
        default = fields[name].default_factory
        if dataclasses.is_dataclass(default):
            value = from_dict(default, value, f"{where}.{name}")
        elif isinstance(value, list):
            value = tuple(value)
        _check_type(value, str(fields[name].type), f"{where}.{name}")
        arguments[name] = value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None


def _check_type(value: Any, annotation: str, where: str) -> None:
    """Plain values alone: a word where a number belongs would only fail much later."""
    accepted, called = {
        "int": ((int,), "a whole number"),
        "float": ((int, float), "a number"),
        "bool": ((bool,), "true or false"),
        "str": ((str,), "a word"),
    }.get(annotation, ((object,), ""))
    if not isinstance(value, accepted) or (
        isinstance(value, bool) and annotation in ("int", "float")
    ):
        raise InputError(f"{where} is {value!r}; give {called}")

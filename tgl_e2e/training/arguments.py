"""The command line of ``train.py``: which stages to run, and with which values."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tgl_e2e import cli
from tgl_e2e.config import CONFIG_NAME, TGLConfig, from_dict, preset_names, read_preset
from tgl_e2e.config.values import describe
from tgl_e2e.errors import InputError
from tgl_e2e.model.trained import SINGLE_FRAMES, STAGES
from tgl_e2e.training.config import EARLIER_STAGES, TrainConfig


@dataclass(frozen=True)
class Leg:
    """One stage of a run: what it starts from, where it writes, and its resolved values."""

    stage: str
    init: Path | None
    output: Path
    train: TrainConfig
    model: TGLConfig


def parse_arguments(description: str, given: list[str] | None = None) -> argparse.Namespace:
    """``values`` of the result holds the overrides as KEY=VALUE."""
    values = [
        "values of a stage (the preset's come before these defaults):",
        *describe(TrainConfig),
        "values of the network:",
        *describe(TGLConfig, "model."),
    ]
    parser = cli.Parser(
        description=description,
        epilog="\n".join(values),
        allow_abbrev=False,
        usage="accelerate launch train.py --config NAME [options] [KEY=VALUE or --KEY VALUE ...]",
    )
    add = parser.add_argument
    add("--config", required=True, help=f"preset: {', '.join(preset_names())}")
    text = "one stage alone; default: all that the preset's recipe names"
    add("--stage", choices=STAGES, help=text)
    text = "folder of this run (default: runs/CONFIG, or runs/CONFIG-STAGE)"
    add("--output", type=Path, help=text)
    add("--init", type=Path, help="folder of the run (or network) to start from")
    add("--resume", action="store_true", help="go on from --output's last state")
    text = "stop each stage after N steps; its learning-rate schedule stays that of the whole "
    text += "stage, so --resume can go on"
    add("--max-steps", type=int, metavar="N", help=text)
    add("--seed", type=int, metavar="S", help="same as seed=S")
    text = "default: what accelerate is configured for"
    add("--mixed-precision", choices=("no", "bf16", "fp16"), help=text)
    arguments, rest = parser.parse_known_args(given)
    if arguments.max_steps is not None and arguments.max_steps < 1:
        parser.error("--max-steps must be at least 1")
    arguments.values = overrides(rest)
    if arguments.seed is not None:
        arguments.values.append(f"seed={arguments.seed}")
    if arguments.output is None:
        name = arguments.config + (f"-{arguments.stage}" if arguments.stage else "")
        arguments.output = Path("runs") / name
    return arguments


def overrides(words: list[str]) -> list[str]:
    """KEY=VALUE, --KEY=VALUE and --KEY VALUE, all as KEY=VALUE; a leading "train." is dropped."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and "=" not in word:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{word} lacks a value")
            word += f"={rest.pop(0)}"
        key, sign, value = word.removeprefix("--").partition("=")
        key = key.removeprefix("train.")
        if not sign or not re.fullmatch(r"[A-Za-z_][\w.\-]*", key):
            raise InputError(f"{word!r} is not of the form KEY=VALUE")
        try:
            yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(
                f"{word!r}: {value!r} cannot be read; values are YAML: 3, true, word, "
                "[8, 8, 4], {mixed: 1}, and text with signs of it in quotes"
            ) from None
        found.append(f"{key.replace('-', '_')}={value}")
    return found


def legs(arguments: argparse.Namespace) -> list[Leg]:
    """The stages to run, in order: the one asked for, or those of the preset's recipe.

    Each stage of a recipe starts from the one before. All but the last write into folders inside
    ``--output``/stages; the last, whose network is what the run is for, into ``--output`` itself.
    Values of ``model`` hold from their stage on, unless the command line sets one of them.
    """
    if arguments.stage is not None:
        return [resolve(arguments, arguments.stage, {}, arguments.init, arguments.output)]
    recipe = read_preset(arguments.config).get("recipe")
    if not recipe:
        raise InputError(f"preset {arguments.config!r} has no recipe; give --stage")
    asked = {value.partition("=")[0].removeprefix("model.") for value in arguments.values}
    found: list[Leg] = []
    init = arguments.init
    for number, part in enumerate(recipe, start=1):
        name = f"{number}-{part.get('name', part['stage'])}"
        earlier = arguments.output / EARLIER_STAGES / name
        output = earlier if number < len(recipe) else arguments.output
        leg = resolve(arguments, part["stage"], part.get("values", {}), init, output)
        if found:  # the folder of the stage before may not be there yet: its network is
            leg = replace(leg, model=found[-1].model)
        changes = part.get("model", {})
        if not asked & changes.keys():
            leg = replace(leg, model=leg.model.with_values(**changes))
        found.append(leg)
        init = output
    return found


def resolve(
    arguments: argparse.Namespace,
    stage: str,
    recipe: dict[str, Any],
    init: Path | None,
    output: Path,
) -> Leg:
    """Values from preset, --init's config.json, recipe and command line; the last wins."""
    from omegaconf import OmegaConf

    given = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.values))
    given.pop("model", None)
    # "valid_split=" is an empty word, not null.
    given = {name: "" if value is None else value for name, value in given.items()}
    base = TrainConfig.from_preset(arguments.config, stage).to_dict()
    train = from_dict(TrainConfig, base | recipe | given, "train")
    single = stage in SINGLE_FRAMES
    if single != (train.num_frames == 1):
        raise InputError(
            f"num_frames is {train.num_frames}; stage {stage} trains on "
            + ("single frames: num_frames=1" if single else "2 frames or more")
        )
    if train.distinct and stage != "moments":
        raise InputError(f"distinct is for the stage moments, not for {stage}")
    model = TGLConfig.from_preset(arguments.config)
    if init and (init / CONFIG_NAME).is_file():
        model = TGLConfig.load(init)
    for change in arguments.values:
        if change.startswith("model."):
            key, value = change.removeprefix("model.").split("=", 1)
            model = model.with_values(**{key: yaml.safe_load(value)})
    if stage not in SINGLE_FRAMES and train.tam_weight > 0 and not model.tam.enabled:
        model = model.with_values(**{"tam.enabled": True})  # it begins afresh, as do verbs
        asked = any(change.startswith("model.prompt.kind=") for change in arguments.values)
        if model.prompt.kind == "samwise" and not asked:
            model = model.with_values(**{"prompt.kind": "samwise-verbs"})
    return Leg(stage, init, output, train, model)

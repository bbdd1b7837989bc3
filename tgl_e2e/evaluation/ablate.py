"""Trains and evaluates the ablations of Tables 2, 3 and 7: one switch of train.py each.

    python -m tgl_e2e.evaluation.ablate --config tiny --init runs/align --steps 1000 --seeds 3 \\
        --dataset motion --root data/motion --output ablations
    python -m tgl_e2e.evaluation.tables show ablations

Each run is `accelerate launch train.py ...` followed by `tgl_e2e.evaluate`, in
OUTPUT/NAME/seed-SEED/. Killed, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.evaluate import parse_arguments as parse_evaluation
from tgl_e2e.evaluation.paper import SWITCH_OFF
from tgl_e2e.evaluation.tables import add_modes, evaluate_modes
from tgl_e2e.files import write_text

TRAIN = Path(__file__).parent.parent.parent / "train.py"

# Name of a run -> what it goes without.
RUNS = {
    "full": (),
    "none": ("sampling", "mdp", "oss"),
    "sampling": ("mdp", "oss"),
    "sampling-mdp": ("oss",),
    "sampling-oss": ("mdp",),
    "no-mfe": ("mfe",),
    "bank-all": ("bank",),
    "no-mfe-bank-all": ("mfe", "bank"),
    "crowded": ("spacing",),
    "no-tam": ("tam",),
    "no-temporal": ("temporal",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: that of the first run that fails, else 0."""
    args = parse_arguments(arguments)

    def command() -> int:
        for seed in range(args.seeds):  # whole tables first, then a second seed of each
            for name in args.runs:
                status = run(args, name, seed)
                if status != 0:
                    return status
        return 0

    return cli.run("ablate", command, "the same command goes on where it was")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """`evaluation` of the result holds what is left to tgl_e2e.evaluate."""
    parser = cli.Parser(
        prog="ablate",
        description=__doc__,
        allow_abbrev=False,
        epilog="All other options (--dataset, --root, --device, ...) are those of "
        "tgl_e2e.evaluate.",
    )
    add = parser.add_argument
    add("--config", required=True, metavar="NAME", help="preset of train.py")
    add("--stage", default="video", help="stage of train.py (default: %(default)s)")
    add("--init", metavar="DIR", help="network that every run starts from")
    add("--steps", required=True, type=int, metavar="N", help="optimizer steps of each run")
    add("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 (default: 1)")
    names = f"of {', '.join(RUNS)} (default: all)"
    add("--runs", nargs="+", choices=RUNS, default=tuple(RUNS), metavar="NAME", help=names)
    add("--output", required=True, type=Path, metavar="DIR")
    add(
        "--launch",
        default="",
        metavar="OPTIONS",
        help="options of `accelerate launch`: --launch='--num_processes 4', --launch=--cpu "
        "(default: as accelerate is configured)",
    )
    add_modes(parser, ["valid_u"], ["oracle", "auto", "all"])
    values = "values of train.py for every run"
    add("--values", nargs="+", default=[], metavar="KEY=VALUE", help=values)
    args, args.evaluation = parser.parse_known_args(arguments)
    # What is wrong with them shows before the first training.
    parse_evaluation([*args.evaluation, "--checkpoint", "DIR", "--output", "DIR"])
    return args


def run(args: argparse.Namespace, name: str, seed: int) -> int:
    """One training and its evaluations; what is finished is not done again."""
    folder = args.output / name / f"seed-{seed}"
    status = train(args, name, seed, folder / "network")
    if status != 0:
        return status
    options = ["--checkpoint", str(folder / "network"), *args.evaluation]
    return evaluate_modes(folder, args, options)


def train(args: argparse.Namespace, name: str, seed: int, network: Path) -> int:
    """Trains one network, or goes on with it; returns train.py's exit status.

    Raises:
        InputError: the folder holds a run of other arguments; train.py is not there.
    """
    if not TRAIN.is_file():
        raise InputError(f"{TRAIN}: not there; run from a clone of the repository")
    note = {"arguments": train_arguments(args, name, seed, network), "finished": False}
    path = network.parent / "training.json"
    if path.is_file():
        before = json.loads(path.read_text())
        if before["arguments"] != note["arguments"]:
            raise InputError(
                f"{path}: that run had other arguments; give them again, or another --output"
            )
        if before["finished"]:
            return 0
    if network.exists() and not list(network.glob("state*")):
        shutil.rmtree(network)  # killed before its first state was saved
    network.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(note, indent=1) + "\n")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(args.launch)]
    resume = ["--resume"] if network.exists() else []
    status = subprocess.call([*launcher, str(TRAIN), *note["arguments"], *resume])
    if status == 0 and steps_done(network) != args.steps:
        cli.say("ablate", f"{network} was stopped; the same command goes on")
        return cli.INTERRUPTED
    if status == 0:
        write_text(path, json.dumps({**note, "finished": True}, indent=1) + "\n")
    return status


def train_arguments(args: argparse.Namespace, name: str, seed: int, network: Path) -> list[str]:
    """What train.py is told, but for --resume."""
    told = ["--config", args.config, "--stage", args.stage]
    told += ["--init", args.init] if args.init else []
    told += ["--output", str(network), f"steps={args.steps}", f"seed={seed}", *args.values]
    return told + [SWITCH_OFF[part] for part in RUNS[name]]


def steps_done(network: Path) -> int | None:
    """Optimizer steps behind the state that train.py saved last; None if there is none."""
    try:
        return json.loads((network / "state" / "progress.json").read_text())["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())

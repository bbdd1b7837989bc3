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
from tgl_e2e.evaluation.tables import evaluate_modes

TRAIN = Path(__file__).parent.parent.parent / "train.py"

# What train.py is told to leave a part of the method out.
SWITCH_OFF = {
    "sampling": "moment_sampling=false",
    "spacing": "even_spacing=false",
    "mdp": "model.memory.dual_path=false",
    "oss": "selective=false",
    "mfe": "model.memory.mfe=false",
    "bank": "model.memory.bank=all",
    "tam": "tam_weight=0",
    "temporal": "model.adapter.temporal=false",
}
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
    try:
        for seed in range(args.seeds):  # whole tables first, then a second seed of each
            for name in args.runs:
                status = run(args, name, seed)
                if status != 0:
                    return status
    except InputError as error:
        print(f"ablate: error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    from tgl_e2e.data.datasets import DATASETS

    parser = cli.Parser(prog="ablate", description=__doc__)
    add = parser.add_argument
    add("--config", required=True, metavar="NAME", help="preset of train.py")
    add("--stage", default="video", help="stage of train.py (default: %(default)s)")
    add("--init", metavar="DIR", help="network that every run starts from")
    add("--steps", required=True, type=int, metavar="N", help="optimizer steps of each run")
    add("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 (default: 1)")
    add(
        "--runs",
        nargs="+",
        choices=RUNS,
        default=tuple(RUNS),
        metavar="NAME",
        help=f"of {', '.join(RUNS)} (default: all)",
    )
    add("--output", required=True, type=Path, metavar="DIR")
    add(
        "--launch",
        default="",
        metavar="OPTIONS",
        help="options of `accelerate launch`: --launch='--num_processes 4', --launch=--cpu "
        "(default: as accelerate is configured)",
    )
    add("--dataset", required=True, choices=DATASETS, help="what the networks are evaluated on")
    add("--root", required=True, metavar="DIR", help="its folder")
    add("--splits", nargs="+", default=["valid_u"], metavar="SPLIT", help="default: valid_u")
    add(
        "--moments",
        nargs="+",
        default=["oracle", "auto", "all"],
        metavar="MODE",
        help="as of tgl_e2e.evaluate (default: oracle auto all)",
    )
    add("--device", default="auto", help="of the evaluation: auto, cpu, cuda, ...")
    add(
        "--values",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="values of train.py for every run",
    )
    return parser.parse_args(arguments)


def run(args: argparse.Namespace, name: str, seed: int) -> int:
    """One training and its evaluations; what is finished is not done again."""
    folder = args.output / name / f"seed-{seed}"
    network = folder / "network"
    status = train(args, name, seed, network)
    if status != 0:
        return status
    return evaluate_modes(
        folder,
        [
            "--checkpoint",
            str(network),
            "--dataset",
            args.dataset,
            "--root",
            args.root,
            "--device",
            args.device,
            "--no-masks",
        ],
        args.splits,
        args.moments,
    )


def train(args: argparse.Namespace, name: str, seed: int, network: Path) -> int:
    """Trains one network, or goes on with it; returns train.py's exit status.

    Raises:
        InputError: the folder holds a run of other arguments; train.py is not there.
    """
    if not TRAIN.is_file():
        raise InputError(f"{TRAIN}: not there; run from a clone of the repository")
    arguments = train_arguments(args, name, seed, network)
    note = network.parent / "training.json"
    if note.is_file():
        before = json.loads(note.read_text())
        if before["arguments"] != arguments:
            raise InputError(
                f"{note}: that run had other arguments; give them again, or another --output"
            )
        if before["finished"]:
            return 0
    if network.exists() and not list(network.glob("state*")):
        shutil.rmtree(network)  # killed before its first state was saved
    network.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"arguments": arguments, "finished": False}, indent=1) + "\n")
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *shlex.split(args.launch),
        str(TRAIN),
        *arguments,
        *(["--resume"] if network.exists() else []),
    ]
    status = subprocess.call(command)
    if status == 0 and steps_done(network) == args.steps:
        note.write_text(json.dumps({"arguments": arguments, "finished": True}, indent=1) + "\n")
    elif status == 0:
        print(f"ablate: {network} was stopped; the same command goes on", file=sys.stderr)
        return 130
    return status


def train_arguments(args: argparse.Namespace, name: str, seed: int, network: Path) -> list[str]:
    """What train.py is told, but for --resume."""
    init = ["--init", args.init] if args.init else []
    return [
        "--config",
        args.config,
        "--stage",
        args.stage,
        *init,
        "--output",
        str(network),
        f"steps={args.steps}",
        f"seed={seed}",
        *args.values,
        *(SWITCH_OFF[part] for part in RUNS[name]),
    ]


def steps_done(network: Path) -> int | None:
    """Optimizer steps behind the state that train.py saved last; None if there is none."""
    try:
        return json.loads((network / "state" / "progress.json").read_text())["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())

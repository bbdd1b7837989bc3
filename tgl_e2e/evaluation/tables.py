"""The paper's tables beside our own numbers.

    python -m tgl_e2e.evaluation.tables run --checkpoint DIR --dataset mevis --root DIR --output OUT
    python -m tgl_e2e.evaluation.tables show results/ [--table 4]

`run` evaluates one checkpoint in the ways that Tables 1, 4, 6 and 7 compare; killed, it goes on
where it was. `show` collects all evaluations below some folders, whoever made them: those of the
ablations (`tgl_e2e.evaluation.ablate`) fill Tables 2 and 3: mean and deviation over seeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.collect import find_runs, read_run, tell
from tgl_e2e.evaluation.paper import TABLES, TOP_K

MODES = (
    "auto",
    "oracle",
    "all",
    *(f"top-k:{k}" for k in TOP_K),
    *(f"oracle+top-k:{k}" for k in TOP_K),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parse_arguments(arguments)
    statuses: list[int] = []  # empty after a mistake, or when the reader of the output went away
    status = cli.run(
        "tables",
        lambda: statuses.append(args.action(args)),
        interrupted="the same command goes on where it was",
    )
    return status or sum(statuses)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    from tgl_e2e.data.datasets import DATASETS

    parser = cli.Parser(prog="tables", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="{run,show}")
    run = actions.add_parser("run", help="evaluate a checkpoint in the ways that tables compare")
    run.set_defaults(action=run_modes)
    run.add_argument("--checkpoint", required=True, metavar="DIR")
    run.add_argument("--dataset", required=True, choices=DATASETS)
    run.add_argument("--root", required=True, metavar="DIR")
    run.add_argument(
        "--splits",
        nargs="+",
        default=["valid_u", "valid"],
        metavar="SPLIT",
        help="default: valid_u valid",
    )
    run.add_argument(
        "--moments",
        nargs="+",
        default=MODES,
        metavar="MODE",
        help=f"as of tgl_e2e.evaluate (default: {' '.join(MODES)})",
    )
    run.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="gets a folder SPLIT/MODE for each evaluation",
    )
    run.add_argument("--processes", type=int, default=1, metavar="N", help="default: 1")
    run.add_argument("--max-videos", type=int, metavar="N", help="only the first N videos")
    run.add_argument(
        "--always-target",
        action="store_true",
        help="as of tgl_e2e.evaluate: for MeViS v1, where all have one",
    )
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    show = actions.add_parser("show", help="print the tables")
    show.set_defaults(action=show_tables)
    show.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="every metrics.json below them counts"
    )
    show.add_argument(
        "--table",
        type=int,
        choices=[t.number for t in TABLES],
        metavar="N",
        help="one of 1 to 7 (default: all)",
    )
    show.add_argument("--markdown", action="store_true", help="for a README")
    return parser.parse_args(arguments)


def show_tables(args: argparse.Namespace) -> int:
    runs = find_runs(args.folders)
    chosen = [t for t in TABLES if args.table in (None, t.number)]
    print("\n\n".join(tell(table, runs, args.markdown) for table in chosen))
    return 0


def run_modes(args: argparse.Namespace) -> int:
    options = [
        "--checkpoint",
        args.checkpoint,
        "--dataset",
        args.dataset,
        "--root",
        args.root,
        "--device",
        args.device,
        "--no-masks",
    ]
    if args.max_videos is not None:
        options += ["--max-videos", str(args.max_videos)]
    if args.always_target:
        options.append("--always-target")
    return evaluate_modes(args.output, options, args.splits, args.moments, args.processes)


def evaluate_modes(
    folder: Path,
    options: Sequence[str],
    splits: Sequence[str],
    modes: Sequence[str],
    processes: int = 1,
) -> int:
    """Evaluates into FOLDER/SPLIT/MODE what is not there yet; the exit status of the first that
    fails, else 0.

    Raises:
        InputError: one of these folders holds another evaluation.
    """
    for split in splits:
        for moments in modes:
            output = folder / split / folder_name(moments)
            asked = [*options, "--split", split, "--moments", moments, "--output", str(output)]
            if (output / "metrics.json").exists():
                check_same(output, asked)
                continue
            status = evaluate([*asked, "--resume"], processes)
            if status != 0:
                return status
    return 0


def evaluate(options: Sequence[str], processes: int) -> int:
    """Runs tgl_e2e.evaluate with some options; returns its exit status."""
    if processes == 1:
        from tgl_e2e.evaluate import main as evaluate_here

        return evaluate_here(options)
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_machines",
        "1",
        "--num_processes",
        str(processes),
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    return subprocess.call([sys.executable, *launcher, "-m", "tgl_e2e.evaluate", *options])


def folder_name(moments: str) -> str:
    """A mode as a folder's name: a file by its name alone."""
    return Path(moments).name.replace("+", "-").replace(":", "")


def check_same(output: Path, options: Sequence[str]) -> None:
    """InputError if a finished evaluation is not the one that is asked for."""
    from tgl_e2e.evaluate import parse_arguments
    from tgl_e2e.evaluation.processes import usable
    from tgl_e2e.evaluation.provenance import decisive, dtype_of, fingerprint

    asked = vars(parse_arguments(options))
    asked["dtype"] = dtype_of(asked["dtype"], usable(asked["device"]))
    config = read_run(output / "metrics.json").config
    done = config["arguments"]
    before = {
        "checkpoint": config["checkpoint_sha256"],
        **decisive(done),
        "max_videos": done["max_videos"],
    }
    now = {
        "checkpoint": fingerprint(asked["checkpoint"]),
        **decisive(asked),
        "max_videos": asked["max_videos"],
    }
    for name, value in before.items():
        if now[name] != value:
            raise InputError(
                f"{output}: holds an evaluation with another {name}; give another "
                "--output, or remove that folder to evaluate again"
            )


if __name__ == "__main__":
    sys.exit(main())

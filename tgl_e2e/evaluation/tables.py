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
from tgl_e2e.evaluation.paper import TOP_K, find_runs, read_run, tables, tell

MODES = ["auto", "oracle", "all"]
MODES += [f"{inside}top-k:{k}" for inside in ("", "oracle+") for k in TOP_K]
LAUNCH = "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no --num_processes"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parse_arguments(arguments)
    return cli.run("tables", lambda: args.action(args), "the same command goes on where it was")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(prog="tables", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="{run,show}")
    run = actions.add_parser(
        "run",
        allow_abbrev=False,
        help="evaluate a checkpoint in the ways that tables compare",
        epilog="All other options (--checkpoint, --dataset, --root, --max-videos, --always-target, "
        "--device, ...)\nare those of tgl_e2e.evaluate.",
    )
    run.set_defaults(action=lambda args: evaluate_modes(args.output, args, args.evaluation))
    add = run.add_argument
    add("--output", required=True, type=Path, metavar="DIR", help="gets SPLIT/MODE for each")
    add_modes(run, ["valid_u", "valid"], MODES)
    add("--processes", type=int, default=1, metavar="N", help="default: 1")
    show = actions.add_parser("show", help="print the tables")
    show.set_defaults(action=show_tables)
    add = show.add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="every metrics.json below them counts")
    numbers = [table.number for table in tables()]
    add("--table", type=int, choices=numbers, metavar="N", help="one of 1 to 7 (default: all)")
    add("--markdown", action="store_true", help="for a README")
    args, args.evaluation = parser.parse_known_args(arguments)
    if args.action is show_tables and args.evaluation:
        parser.error(f"unrecognized arguments: {' '.join(args.evaluation)}")
    return args


def add_modes(parser: argparse.ArgumentParser, splits: list[str], modes: list[str]) -> None:
    """What `evaluate_modes` goes through, in one process."""
    parser.set_defaults(processes=1)
    for name, default, metavar in (("splits", splits, "SPLIT"), ("moments", modes, "MODE")):
        text = f"as of tgl_e2e.evaluate (default: {' '.join(default)})"
        parser.add_argument(f"--{name}", nargs="+", default=default, metavar=metavar, help=text)


def show_tables(args: argparse.Namespace) -> None:
    runs = find_runs(args.folders)
    chosen = [t for t in tables() if args.table in (None, t.number)]
    print("\n\n".join(tell(table, runs, args.markdown) for table in chosen))


def evaluate_modes(folder: Path, args: argparse.Namespace, options: Sequence[str]) -> int:
    """Evaluates into FOLDER/SPLIT/MODE what is not there yet; the exit status of the first that
    fails, else 0.

    Args:
        args: of `add_modes`.
        options: of tgl_e2e.evaluate, beside these.

    Raises:
        InputError: one of these folders holds another evaluation.
    """
    for split in args.splits:
        for moments in args.moments:
            output = folder / split / folder_name(moments)
            asked = [*options, "--no-masks", "--split", split, "--moments", moments]
            asked += ["--output", str(output)]
            if (output / "metrics.json").exists():
                check_same(output, asked)
                continue
            status = evaluate([*asked, "--resume"], args.processes)
            if status != 0:
                return status
    return 0


def evaluate(options: Sequence[str], processes: int) -> int:
    """Runs tgl_e2e.evaluate with some options; returns its exit status."""
    if processes == 1:
        from tgl_e2e.evaluate import main as evaluate_here

        return evaluate_here(options)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH.split()]
    return subprocess.call([*launcher, str(processes), "-m", "tgl_e2e.evaluate", *options])


def folder_name(moments: str) -> str:
    """A mode as a folder's name: a file by its name alone."""
    return Path(moments).name.replace("+", "-").replace(":", "")


def check_same(output: Path, options: Sequence[str]) -> None:
    """InputError if a finished evaluation is not the one that is asked for."""
    from tgl_e2e.evaluate import parse_arguments
    from tgl_e2e.evaluation.provenance import decisive, fingerprint
    from tgl_e2e.inference.device import choose_device, dtype_of

    asked = vars(parse_arguments(options))
    asked["dtype"] = dtype_of(asked["dtype"], str(choose_device(asked["device"])[0]))
    config = read_run(output / "metrics.json").config
    done = config["arguments"]
    before = {**decisive(done, config["checkpoint_sha256"]), "max_videos": done["max_videos"]}
    now = decisive(asked, fingerprint(asked["checkpoint"])) | {"max_videos": asked["max_videos"]}
    for name, value in before.items():
        if now[name] != value:
            raise InputError(
                f"{output}: holds an evaluation with another {name}; give another "
                "--output, or remove that folder to evaluate again"
            )


if __name__ == "__main__":
    sys.exit(main())

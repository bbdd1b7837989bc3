"""What all commands share: mistakes in one line, and exit statuses."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from tgl_e2e.errors import InputError

OK, MISTAKE, INTERRUPTED = 0, 2, 130
_PATIENCE = 30.0  # seconds
DTYPES = ("float32", "bfloat16", "float16")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the whole usage."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        named.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **named)

    def error(self, message: str):
        _main_process_first()
        self.exit(MISTAKE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def probability(text: str) -> float:
    """A number from 0 to 1, as an argument's type."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return float(text)


def positive(text: str) -> int:
    """A whole number from 1, as an argument's type."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def add_decisions(parser: argparse._ActionsContainer) -> None:
    """The options by which frames are taken as relevant, but for --moments."""
    add = parser.add_argument
    text = "relevance from which a frame counts as relevant, from 0 to 1 (default: %(default)s)"
    add("--threshold", type=probability, default=0.5, metavar="P", help=text)
    text = "never answer with nothing: without a relevant frame take the 4 best"
    add("--always-target", action="store_true", help=text)


def add_machine(parser: argparse._ActionsContainer) -> None:
    """Where a network runs, in which precision, and how often its TAM."""
    add = parser.add_argument
    text = "auto, cpu, cuda, cuda:1, mps, ... (default: %(default)s)"
    add("--device", default="auto", metavar="NAME", help=text)
    text = "precision; auto (default) is bfloat16 on cuda and float32 elsewhere"
    add("--dtype", default="auto", choices=("auto", *DTYPES), help=text)
    text = "relevance from every N-th frame, interpolated, which saves time (default: %(default)s, "
    text += "every frame); 0: none, where --moments need none"
    add("--tam-stride", type=int, default=1, metavar="N", help=text)


def run(
    prog: str, command: Callable[[], int | None], interrupted: str = "nothing was written"
) -> int:
    """Runs a command; its exit status.

    What a user did wrong becomes one line on stderr and status 2, Ctrl-C status 130. A reader of
    the output that went away (``| head``) is no error. Of several processes the main one says it.

    Args:
        command: returns nothing, or a status of its own (of findings that are no mistake).
    """
    for stream in (sys.stdout, sys.stderr):  # text that the terminal's encoding lacks is escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    status = None
    try:
        status = command()
        sys.stdout.flush()
    except InputError as error:
        _main_process_first()
        say(prog, f"error: {error}")
        return MISTAKE
    except KeyboardInterrupt:
        say(prog, f"interrupted: {interrupted}")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor one at the exit
    except OSError as error:  # a full disk, a network drive that went away
        _main_process_first()
        say(prog, f"error: {error.filename or 'output'}: {error.strerror or error}")
        return MISTAKE
    return status or OK


def is_main_process() -> bool:
    """Whether this is the main process of its launch, or the only one; known before torch is."""
    return os.environ.get("RANK", "0") == "0"


def _main_process_first() -> None:
    """Lets the main process of a launch say what all of them found.

    A launcher ends all as soon as one has: were this one quicker, the main process would be gone
    before it had said anything. Who is still there after a while found it alone.
    """
    if not is_main_process():
        for number in (signal.SIGTERM, signal.SIGINT):  # nothing is left to be saved
            signal.signal(number, signal.SIG_DFL)
        time.sleep(_PATIENCE)


def say(prog: str, message: object) -> None:
    """One line on stderr."""
    print(f"{prog}: {' '.join(str(message).split())}", file=sys.stderr)

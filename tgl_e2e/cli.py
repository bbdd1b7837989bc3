"""What all commands share: mistakes in one line, and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from tgl_e2e.errors import InputError

OK, MISTAKE, INTERRUPTED = 0, 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, without the whole usage."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        named.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **named)

    def error(self, message: str):
        self.exit(MISTAKE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(
    prog: str, command: Callable[[], int | None], interrupted: str = "nothing was written"
) -> int:
    """Runs a command; its exit status.

    What a user did wrong becomes one line on stderr and status 2, Ctrl-C status 130. A reader of
    the output that went away (``| head``) is no error.

    Args:
        command: returns nothing, or a status of its own (of findings that are no mistake).
    """
    tolerate_any_text()
    status = None
    try:
        status = command()
        sys.stdout.flush()
    except InputError as error:
        say(prog, f"error: {error}")
        return MISTAKE
    except KeyboardInterrupt:
        say(prog, f"interrupted: {interrupted}")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor one at the exit
    except OSError as error:  # a full disk, a network drive that went away
        say(prog, f"error: {error.filename or 'output'}: {error.strerror or error}")
        return MISTAKE
    return status or OK


def say(prog: str, message: object) -> None:
    """One line on stderr."""
    print(f"{prog}: {' '.join(str(message).split())}", file=sys.stderr)


def tolerate_any_text() -> None:
    """Names and texts that the terminal's encoding lacks are escaped, and end nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

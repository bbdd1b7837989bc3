"""Files that appear whole or not at all, folders that one run writes to at a time, and JSON files
of others with the names in them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tgl_e2e.errors import InputError

# What a lock that another process holds answers with; anything else is a file system without locks.
TAKEN = (errno.EAGAIN, errno.EACCES)
# What would leave the folder it is meant for, or is no file's name on some system.
UNSAFE = re.compile(
    r"""(?ix) ^\s*$ | ^\.+$ | [/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff] | [ .]$
    | ^(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])(\.|$)"""
)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` for a file or a new folder; it takes its place at the end, once it is
    on the disk, or is removed after an error. Its name is short, however long the file's own is."""
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}.partial")
    try:
        yield partial
        if partial.is_file():
            flush(partial)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(partial, 0o666 & ~mask)  # some libraries write for the owner alone
        os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """To the disk itself, before its name is given to it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes a text file; characters that UTF-8 does not have (lone surrogates, from file names of
    other encodings) are written as Python escapes them.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def read_json(path: Path, purpose: str, remedy: str = "get it again") -> Any:
    """The content of a JSON file; InputError if it is missing or damaged.

    Args:
        purpose: what the file is for, for the message, e.g. "it lists the videos".
        remedy: for a damaged one.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, {purpose}; get the whole split") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a JSON file ({reason}); {remedy}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def check_name(name: str, where: str) -> None:
    """Names from annotation files become files' names: InputError where that is not safe."""
    if UNSAFE.search(name):
        raise InputError(
            f"{where} {name!a}: no safe name of a file (it holds a separator, a control "
            "character or a device's name); rename it in the file"
        )


def is_text(text: Any) -> bool:
    """Whether an expression says something, in Unicode."""
    return isinstance(text, str) and bool(text.strip()) and not re.search(r"[\ud800-\udfff]", text)


def try_lock(file: IO) -> bool:
    """Whether this process now holds the lock of an open file, until that is closed.

    Where the system or the file system knows no locks (Windows; some network and user-space file
    systems), a warning says that nobody watches.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except ImportError:
        reason = "this system has no file locks"
    except OSError as error:
        if error.errno in TAKEN:
            return False
        reason = error.strerror or str(error)
    warnings.warn(
        f"{file.name}: cannot be locked ({reason}); take care that nothing else writes there",
        stacklevel=2,
    )
    return True


@contextlib.contextmanager
def locked(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Holds the lock file ``path``; removes it at the end.

    Args:
        what: for the message: "results/run: another evaluation".
        patience: seconds to wait for whoever holds it.

    Raises:
        InputError: another process holds it.
    """
    deadline = time.monotonic() + patience
    while True:
        file = path.open("a")
        if try_lock(file) and _still_there(file, path):
            break
        file.close()
        if time.monotonic() > deadline:
            raise InputError(f"{what} writes there; wait for it, or give another --output")
        time.sleep(0.1)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _still_there(file: IO, path: Path) -> bool:
    """Whether an open lock file is the one at its path: its last holder may have removed it."""
    try:
        return os.name == "nt" or os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False

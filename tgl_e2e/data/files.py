"""JSON files of data sets, and the names and texts in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tgl_e2e.errors import InputError

# What would leave the folder it is meant for, or is no file's name on some system.
UNSAFE = re.compile(
    r"""(?ix) ^\s*$ | ^\.+$ | [/\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff] | [ .]$
    | ^(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])(\.|$)"""
)


def read_json(path: Path, purpose: str) -> Any:
    """The content of a JSON file; InputError if it is missing or damaged.

    purpose: what the file is for, for the message, e.g. "it lists the videos".
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, {purpose}; get the whole split") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a JSON file ({reason}); get it again") from None
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

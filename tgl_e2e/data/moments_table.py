"""Moments as a table for people: a CSV file with the columns video, expression, object, start, end.

A row is an interval of frame positions, from 0, inclusive. Object `*`: of all that the expression
means, where objects are not told apart. Start and end empty: the object has no moments; object
empty too: the expression has no target. Other columns are left alone.

Spreadsheets rewrite what looks like a number. What may have been rewritten is reported, and not
guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tgl_e2e.data.base import ANY_OBJECT, VideoRecord
from tgl_e2e.data.moments_json import MAX_FRAMES, Moments, unite
from tgl_e2e.errors import InputError

COLUMNS = ("video", "expression", "object", "start", "end")
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}


class TableError(InputError):
    """A table with faults, each in a line that names file, row and column."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)


@dataclass(frozen=True)
class _Row:
    number: int  # as a spreadsheet counts, the header being row 1
    values: Mapping[str, str]


def read_table(
    path: Path, listing: Mapping[str, VideoRecord] | None = None
) -> tuple[Moments, list[str]]:
    """Reads a table, and notes in words what was united.

    listing: the videos of the split; ids and positions are held against them if given.

    Raises:
        TableError: with all faults.
        InputError: the file cannot be read, or has not these columns.
    """
    faults: list[str] = []
    notes: list[str] = []
    moments: Moments = {}
    seen: dict[tuple[str, ...], int] = {}
    for row in _rows(path):
        where = f"{path}: row {row.number}"
        found = [f"{where}, {fault}" for fault in _faults(row.values, listing)]
        key = tuple(row.values[column] for column in COLUMNS)
        if key in seen:
            found.append(f"{where}: repeats row {seen[key]}; remove one of them")
        seen.setdefault(key, row.number)
        faults += found
        if found:
            continue
        video, expression, obj, start, end = key
        objects = moments.setdefault(video, {}).get(expression)
        if objects is not None and _clash(obj, objects):
            faults.append(
                f"{where}, column object: '{obj}' beside rows of "
                f"'{', '.join(objects) or 'no target'}' of the same expression; '{ANY_OBJECT}' "
                f"stands for all objects, and an empty one for no target"
            )
            continue
        objects = moments[video].setdefault(expression, {})
        if obj:
            objects.setdefault(obj, [])
        if start:
            span = (int(start), int(end))
            if any(span[0] <= last and first <= span[1] for first, last in objects[obj]):
                notes.append(f"{where}: overlaps an earlier row of object {obj}; they are united")
            objects[obj].append(span)
    if faults:
        raise TableError(faults)
    for known in moments.values():
        for objects in known.values():
            objects.update({obj: unite(intervals) for obj, intervals in objects.items()})
    return moments, notes


def format_table(moments: Moments, delimiter: str = ",") -> str:
    """Moments as the text of a table."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for video, known in moments.items():
        for expression, objects in known.items():
            if not objects:
                writer.writerow([video, expression, "", "", ""])
            for obj, intervals in objects.items():
                for start, end in intervals or [("", "")]:
                    writer.writerow([video, expression, obj, start, end])
    return text.getvalue()


def _clash(obj: str, others: Collection[str]) -> bool:
    """Whether a row of an object cannot stand beside earlier rows of the same expression."""
    if not obj or not others:
        return True
    return ANY_OBJECT in (obj, *others) and {obj} != set(others)


# Reading


def _rows(path: Path) -> list[_Row]:
    text = _text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS.values(), key=first.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path}: no CSV file ({error})") from None
    header = [name.strip().lower() for name in table[0]] if table else []
    for column in COLUMNS:
        if header.count(column) != 1:
            fault = "there twice" if column in header else "missing"
            raise InputError(
                f"{path}: row 1, column {column}: is {fault}; the first row names the columns "
                f"{', '.join(COLUMNS)}, separated by comma, semicolon or tab"
            )
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        cells = [" ".join(cell.split()) for cell in cells]
        if not any(cells):
            continue
        cells += [""] * (len(header) - len(cells))
        rows.append(_Row(number, {column: cells[header.index(column)] for column in COLUMNS}))
    return rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{path}: no text in UTF-8; save it as CSV UTF-8") from None


# Faults of one row, each "column NAME: what; remedy"


def _faults(values: Mapping[str, str], listing: Mapping[str, VideoRecord] | None) -> list[str]:
    video, expression, obj = (values[name] for name in COLUMNS[:3])
    start, end = values["start"], values["end"]
    faults = []
    its_video = its_objects = None
    fault = _id_fault("video", video, listing)
    if fault:
        faults.append(fault)
    elif listing is not None:
        its_video = listing[video]
    expressions = None if its_video is None else {e.id: e.objects for e in its_video.expressions}
    fault = _id_fault("expression", expression, expressions)
    if fault:
        faults.append(fault)
    elif expressions is not None:
        its_objects = expressions[expression]
    if obj and obj != ANY_OBJECT:
        fault = _id_fault("object", obj, its_objects)
        if fault:
            faults.append(fault)
    elif not obj and (start or end):
        faults.append(f"column object: is empty; write the object, or {ANY_OBJECT} for all")
    if its_objects and not obj:
        faults.append(f"column object: is empty, but the expression means {', '.join(its_objects)}")
    if not start and not end:
        return faults
    numbers = [_number_fault(name, values[name]) for name in ("start", "end")]
    if any(numbers):
        return faults + [fault for fault in numbers if fault]
    if int(start) > int(end):
        faults.append(f"column start: {start} is after the end, {end}; exchange or correct them")
    if its_video is not None and int(end) >= len(its_video.frames):
        faults.append(
            f"column end: {end} lies outside the video, whose last frame is "
            f"{len(its_video.frames) - 1}"
        )
    return faults


def _id_fault(column: str, value: str, known: Collection[str] | None) -> str | None:
    """known: the ids there are, None if that is not known."""
    if not value:
        return f"column {column}: is empty"
    if known is not None and value in known:
        return None
    bare = re.sub(r"[.,]0+$", "", value)
    rewritten = bare != value or re.fullmatch(r"\d+([.,]\d+[eE]\+?|[eE]\+)\d+", value)
    if known is None:
        if not rewritten:
            return None
        return (
            f"column {column}: '{value}' looks like an id that a spreadsheet has rewritten as a "
            f"number; format the column as text and write the id again"
        )
    meant = [other for other in known if other.lstrip("0") == bare.lstrip("0")]
    if meant:
        return (
            f"column {column}: '{value}' is unknown, '{meant[0]}' is not: a spreadsheet may have "
            f"rewritten it; format the column as text and write the id again"
        )
    some = ", ".join([*list(known)[:3], *(["..."] if len(known) > 3 else [])]) or "none"
    return f"column {column}: '{value}' is unknown; there is {some}"


def _number_fault(column: str, value: str) -> str | None:
    if not value:
        return f"column {column}: is empty; give both start and end, or none"
    if not re.fullmatch(r"[0-9]+", value):
        whole = re.fullmatch(r"([0-9]+)[.,]0+", value)
        remedy = f"write {whole[1]}" if whole else "give frame positions, whole numbers from 0"
        return f"column {column}: '{value}' is no frame position; {remedy}"
    if int(value) >= MAX_FRAMES:
        return f"column {column}: {value} is no frame position; no video has so many frames"
    return None

"""Moments as a table for people: a CSV file with the columns video, expression, object, start, end.

A row is an interval of frame positions, from 0, inclusive. Object `*`: of all that the expression
means, where objects are not told apart. Start and end empty: the object has no moments; object
empty too: the expression has no target. Other columns are left alone.

Spreadsheets rewrite what looks like a number. What may have been rewritten is reported, and not
guessed.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tgl_e2e.data.base import ANY_OBJECT, VideoRecord
from tgl_e2e.data.moments_json import MAX_FRAMES, Moments, entries_of, unite
from tgl_e2e.errors import InputError

COLUMNS = ("video", "expression", "object", "start", "end")
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}


class TableError(InputError):
    """A table with faults, each in a line that names file, row and column."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)


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
    for number, row in _rows(path):
        where, key = f"{path}: row {number}", tuple(row.values())
        video, expression, obj, start, end = key
        objects = moments.setdefault(video, {}).get(expression)
        found = [f", {fault}" for fault in _faults(row, listing)]
        if seen.setdefault(key, number) != number:
            found.append(f": repeats row {seen[key]}; remove one of them")
        elif not found and objects is not None and _clash(obj, objects):
            found.append(
                f", column object: '{obj}' beside rows of '{', '.join(objects) or 'no target'}' of "
                f"the same expression; '{ANY_OBJECT}' stands for all objects, and an empty one for "
                "no target"
            )
        faults += [where + fault for fault in found]
        if found:
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
    for _, _, objects in entries_of(moments):
        objects.update({obj: unite(intervals) for obj, intervals in objects.items()})
    return moments, notes


def format_table(moments: Moments, delimiter: str = ",") -> str:
    """Moments as the text of a table."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for video, expression, objects in entries_of(moments):
        for obj, intervals in (objects or {"": []}).items():
            for start, end in intervals or [("", "")]:
                writer.writerow([video, expression, obj, start, end])
    return text.getvalue()


def _clash(obj: str, others: Collection[str]) -> bool:
    """Whether a row of an object cannot stand beside earlier rows of the same expression."""
    return not obj or not others or (ANY_OBJECT in (obj, *others) and {obj} != set(others))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by their number, as a spreadsheet counts: the header is row 1."""
    try:
        content = path.read_bytes()
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: no text in UTF-8; save it as CSV UTF-8") from None
    delimiter = max(DELIMITERS.values(), key=text.split("\n", 1)[0].count)
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
    for number, cells in enumerate(table[1:], start=2):
        cells = [" ".join(cell.split()) for cell in cells] + [""] * (len(header) - len(cells))
        if any(cells):
            yield number, {column: cells[header.index(column)] for column in COLUMNS}


def _faults(row: Mapping[str, str], listing: Mapping[str, VideoRecord] | None) -> Iterator[str]:
    """What is wrong with one row, each "column NAME: what; remedy"."""
    video, expression, obj, start, end = row.values()
    its_video = (listing or {}).get(video)
    expressions = None if its_video is None else {e.id: e.objects for e in its_video.expressions}
    objects = (expressions or {}).get(expression)
    yield from _id_faults("video", video, listing)
    yield from _id_faults("expression", expression, expressions)
    if obj not in ("", ANY_OBJECT):
        yield from _id_faults("object", obj, objects)
    elif not obj and (start or end):
        yield f"column object: is empty; write the object, or {ANY_OBJECT} for all"
    elif not obj and objects:
        yield f"column object: is empty, but the expression means {', '.join(objects)}"
    if not start and not end:
        return
    numbers = [fault for name in ("start", "end") for fault in _number_faults(name, row[name])]
    yield from numbers
    if not numbers and int(start) > int(end):
        yield f"column start: {start} is after the end, {end}; exchange or correct them"
    if not numbers and its_video is not None and int(end) >= its_video.num_frames:
        last = its_video.num_frames - 1
        yield f"column end: {end} lies outside the video, whose last frame is {last}"


def _id_faults(column: str, value: str, known: Collection[str] | None) -> Iterator[str]:
    """known: the ids there are, None if that is not known."""
    remedy = "if a spreadsheet has rewritten it, format the column as text and write the id again"
    if not value:
        yield f"column {column}: is empty"
    elif known is None and re.fullmatch(r".*[.,]0+|\d+([.,]\d+)?[eE]\+\d+", value):
        yield f"column {column}: '{value}' looks like an id that became a number; {remedy}"
    elif known is not None and value not in known:
        nearest = ", ".join(difflib.get_close_matches(value, known, 3, 0)) or "none"
        yield f"column {column}: '{value}' is unknown, there is {nearest}; {remedy}"


def _number_faults(column: str, value: str) -> Iterator[str]:
    if not value:
        yield f"column {column}: is empty; give both start and end, or none"
    elif not re.fullmatch(r"[0-9]+", value):
        whole = re.fullmatch(r"([0-9]+)[.,]0+", value)
        remedy = f"write {whole[1]}" if whole else "give frame positions, whole numbers from 0"
        yield f"column {column}: '{value}' is no frame position; {remedy}"
    elif int(value) >= MAX_FRAMES:
        yield f"column {column}: {value} is no frame position; no video has so many frames"

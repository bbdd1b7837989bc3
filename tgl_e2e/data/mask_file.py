"""The masks of MeViS, left in their file until one is asked for.

mask_dict.json of MeViS train has several hundred MB. As Python objects it would take more than
twice that, and again in every loader worker: a worker that reads an object writes its reference
count, and so gets its own copy of the page. Here one pass over the file notes where each mask
stands; all processes of a machine then share the file itself, through the page cache.
"""

from __future__ import annotations

import json
import mmap
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tgl_e2e.errors import InputError

# Neither keys nor counts (characters 48 to 111) can hold braces, nor can the sizes.
_OPEN = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*")
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*\[\s*')
_MASK = re.compile(rb"(null|\{[^{}]*\})\s*(,|\])\s*")
_NEXT = re.compile(rb"(,|\})\s*")
_END = re.compile(rb"\]\s*")


class MaskFile:
    """Where each mask of a mask_dict.json stands: {annotation: [null or COCO RLE per frame]}.

    Memory: 12 bytes per mask or null, and the annotations' names. Iterating gives these names.

    Raises:
        InputError: the file cannot be read or is not of this form.
    """

    def __init__(self, path: Path):
        self.path = path
        self._first: dict[str, int] = {}  # number of an annotation's first mask
        self._length: dict[str, int] = {}  # how many masks (and nulls) it has
        self._file: mmap.mmap | None = None
        begins, sizes = array("q"), array("i")
        with self._open() as content:
            self._index(content, begins, sizes)
        self._begin = np.array(begins, dtype=np.int64)  # (masks,) first byte
        self._size = np.array(sizes, dtype=np.int32)  # (masks,) bytes, 0: no mask

    def length(self, annotation: str) -> int:
        """How many masks (and nulls) an annotation has."""
        return self._length[annotation]

    def present(self, annotation: str) -> np.ndarray:
        """(length,) bool: which masks of an annotation there are."""
        first = self._first[annotation]
        return self._size[first : first + self._length[annotation]] > 0

    def rle(self, annotation: str, position: int) -> dict | None:
        """A mask as COCO RLE, or None; InputError if what stands there is none."""
        number = self._first[annotation] + position
        size = int(self._size[number])
        if size == 0:
            return None
        if self._file is None:
            self._file = self._open()
        begin = int(self._begin[number])
        try:
            rle = json.loads(self._file[begin : begin + size])
            height, width = map(int, rle["size"])
            if not isinstance(rle["counts"], str):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path}: byte {begin}: not a COCO RLE (size and counts); "
                f"get the file again, and do not change it while it is in use"
            ) from None
        return {"size": [height, width], "counts": rle["counts"]}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_file": None}  # a process that gets a copy opens the file itself

    def _open(self) -> mmap.mmap:
        try:
            with self.path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None
        except ValueError:
            raise InputError(f"{self.path}: is empty; get the file again") from None

    def _index(self, content: mmap.mmap, begins: array, sizes: array) -> None:
        at = self._expect(_OPEN, content, 0).end()
        if content[at : at + 1] == b"}":
            return
        while True:
            key = self._expect(_KEY, content, at)
            name, at = json.loads(b'"' + key[1] + b'"'), key.end()
            self._first[name] = len(begins)
            end = _END.match(content, at)  # an annotation without frames
            while end is None:
                mask = self._expect(_MASK, content, at)
                begins.append(mask.start())
                sizes.append(0 if mask[1] == b"null" else mask.end(1) - mask.start())
                at = mask.end()
                if mask[2] == b"]":
                    break
            else:
                at = end.end()
            self._length[name] = len(begins) - self._first[name]
            step = self._expect(_NEXT, content, at)
            at = step.end()
            if step[1] == b"}":
                return

    def _expect(self, pattern: re.Pattern[bytes], content: mmap.mmap, at: int) -> re.Match[bytes]:
        found = pattern.match(content, at)
        if found is None:
            raise InputError(
                f"{self.path}: byte {at}: should hold one list of masks (null or COCO RLE) per "
                f"annotation; get it again"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __contains__(self, annotation: str) -> bool:
        return annotation in self._first

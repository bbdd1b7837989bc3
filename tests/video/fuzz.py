"""Damaged containers through the video reader: no crash, no hang, no traceback.

  python tests/video/fuzz.py [COUNT] [SEED]

Every file must be read (with or without a warning) or refused by an InputError within ten seconds.
What is not is kept, and its name printed.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import struct
import sys
import tempfile
import warnings
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tgl_e2e.errors import InputError
from tgl_e2e.video.reader import open_video

KINDS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "mov": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "rgb8"),
}
FOLDER = "folder"  # of PNG pictures
SECONDS = 10
FRAMES = 12


class Hang(Exception):
    pass


def make(folder: Path) -> dict[str, Path]:
    """One whole file of each kind, and a folder of pictures."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    made = {}
    for kind, (codec, pixels) in KINDS.items():
        path = made[kind] = folder / f"whole.{kind}"
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=10, width=64, height=48, pix_fmt=pixels)
            for rgb in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb)))
            file.mux(stream.encode())
    made[FOLDER] = folder / FOLDER
    made[FOLDER].mkdir()
    for number, rgb in enumerate(frames[:4]):
        Image.fromarray(rgb).save(made[FOLDER] / f"{number:05d}.png")
    return made


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, the end cut off, parts swapped, repeated or overwritten, sizes made huge."""
    data = bytearray(content)
    way = rng.integers(6)
    if way == 0:
        for at in rng.integers(0, len(data), rng.integers(1, 60)):
            data[at] ^= 1 << rng.integers(8)
    elif way == 1:
        del data[rng.integers(0, len(data)) :]
    elif way == 2:
        size = int(rng.integers(1, max(2, len(data) // 4)))
        a, b = sorted(rng.integers(0, max(1, len(data) - size), 2))
        data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    elif way == 3:
        a, b = sorted(rng.integers(0, len(data), 2))
        data[b:b] = data[a:b]
    elif way == 4:
        a = int(rng.integers(0, len(data)))
        size = int(rng.integers(1, 400))
        data[a : a + size] = rng.bytes(size)
    else:  # numbers of four bytes, as sizes of boxes are, early in the file or late
        for at in rng.integers(0, max(1, len(data) - 4), rng.integers(1, 6)):
            value = int(rng.choice([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF]))
            data[at : at + 4] = struct.pack(">I", value)
    return bytes(data)


def mutate(whole: dict[str, Path], seed: int, folder: Path) -> Path:
    """The damaged file (or folder with one damaged picture) of a seed."""
    rng = np.random.default_rng(seed)
    kind = sorted(whole)[seed % len(whole)]
    source, target = whole[kind], folder / f"{seed:06d}.{kind}"
    if kind != FOLDER:
        target.write_bytes(damaged(source.read_bytes(), rng))
        return target
    shutil.copytree(source, target)
    picture = sorted(target.iterdir())[rng.integers(4)]
    picture.write_bytes(damaged(picture.read_bytes(), rng))
    return target


def read(path: Path) -> str:
    """read, or refused with what was said."""

    def expired(*_):
        raise Hang(f"over {SECONDS} s")

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _, rgb in open_video(path).frames(0, None, 1):
                assert rgb.dtype == np.uint8 and rgb.ndim == 3
        return "read"
    except InputError as error:
        assert "\n" not in str(error) and path.name in str(error), str(error)
        return f"refused: {error}"
    finally:
        signal.alarm(0)


def run(seeds: range, folder: str, results) -> None:
    """In a process of its own, which a crash ends."""
    whole = make(Path(folder))
    for seed in seeds:
        path = mutate(whole, seed, Path(folder))
        results.put((seed, None))
        try:
            outcome = read(path)
        except BaseException as error:  # what must not happen
            outcome = f"{type(error).__name__}: {error}"
        if outcome == "read" or outcome.startswith("refused"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        results.put((seed, outcome))


def fuzz(count: int, seed: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """How many of ``count`` files were read and refused, and what else happened."""
    tally, wrong, first, end = {"read": 0, "refused": 0}, [], seed, seed + count
    context = multiprocessing.get_context("spawn")
    while first < end:
        results = context.SimpleQueue()
        place = folder / str(first)
        place.mkdir(parents=True)
        process = context.Process(target=run, args=(range(first, end), str(place), results))
        process.start()
        begun = first
        while process.is_alive() or not results.empty():
            if results.empty():
                process.join(0.05)
                continue
            begun, outcome = results.get()
            if outcome is None:
                continue
            word = outcome.partition(":")[0]
            if word in tally:
                tally[word] += 1
            else:
                wrong.append(f"{place}: seed {begun}: {outcome}")
        if process.exitcode == 0:
            break
        wrong.append(f"{place}: seed {begun}: ended with {process.exitcode}")
        first = begun + 1
    return tally, wrong


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    kept = Path(tempfile.mkdtemp(prefix="fuzz-"))
    found, bad = fuzz(*(given + [1000, 0][len(given) :]), kept)
    print(found, *bad, sep="\n")
    if not bad:
        shutil.rmtree(kept)
    sys.exit(bool(bad))

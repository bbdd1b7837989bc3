"""What comes out: masks per frame and expression, and the result.json that holds them.

Masks are kept as COCO run lengths only, some hundred bytes each, so that a result is small however
long the video.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from tgl_e2e.errors import InputError

VERSION = 1

RLE = dict  # {"size": [H, W], "counts": str}, as COCO has it


@dataclass(frozen=True)
class Segmentation:
    """One expression in one video; T counts the processed frames.

    text: the expression
    num_frames: T
    size: (H, W) of the video and of every mask
    fps: of the original video
    frames: (T,) original frame numbers, ascending
    relevance: (T,) float32 in [0, 1], how well each frame shows what the expression says
    moments: inclusive intervals of original frame numbers that were taken as M+
    rle: T masks
    logits: (T, h, w) float16 mask logits as the network gives them, where they were asked for
    """

    text: str
    num_frames: int
    size: tuple[int, int]
    fps: float
    frames: np.ndarray
    relevance: np.ndarray
    moments: list[tuple[int, int]]
    rle: list[RLE]
    logits: np.ndarray | None = None

    def mask(self, i: int) -> np.ndarray:
        """The mask of the i-th processed frame (frame `frames[i]` of the video), (H, W) bool."""
        return decode_mask(self.rle[i])


@dataclass(frozen=True)
class FrameResult:
    """One frame of a stream with N expressions.

    frame: original frame number
    masks: (N, H, W) bool
    relevance: (N,) float32 in [0, 1]
    """

    frame: int
    masks: np.ndarray
    relevance: np.ndarray


def encode_mask(mask: np.ndarray) -> RLE:
    """COCO run lengths of a mask (H, W) bool; counts are text, so that json takes them."""
    rle = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(rle: RLE) -> np.ndarray:
    """The mask (H, W) bool of COCO run lengths."""
    return np.ascontiguousarray(coco.decode(rle)).astype(bool)


def mask_area(rle: RLE) -> int:
    """Pixels inside the mask, without decoding it."""
    return int(coco.area(rle))


@dataclass(frozen=True)
class ResultFile:
    """What result.json holds: one Segmentation per expression, and where they come from."""

    video: str
    checkpoint: str
    segmentations: list[Segmentation]


def write_result_json(
    path: str | os.PathLike, segmentations: Sequence[Segmentation], video: str, checkpoint: str
) -> None:
    """Writes the segmentations of one video; the schema is that of `read_result_json`."""
    first = segmentations[0]
    content = {
        "version": VERSION,
        "video": video,
        "fps": first.fps,
        "num_frames": first.num_frames,
        "frames": [int(f) for f in first.frames],
        "height": first.size[0],
        "width": first.size[1],
        "checkpoint": checkpoint,
        "expressions": [
            {
                "text": s.text,
                "moments": [[int(start), int(end)] for start, end in s.moments],
                # The shortest decimals that give the same float32 again.
                "relevance": [float(str(r)) for r in np.asarray(s.relevance, np.float32)],
                "masks": s.rle,
            }
            for s in segmentations
        ],
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, allow_nan=False)


def read_result_json(path: str | os.PathLike) -> ResultFile:
    """Reads what `write_result_json` wrote; InputError if the file is anything else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        version = content["version"]
        if version == VERSION:
            found = [_segmentation(content, expression) for expression in content["expressions"]]
            return ResultFile(content["video"], content["checkpoint"], found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a result.json of infer.py ({error!r})") from None
    raise InputError(f"{path}: result of version {version}, this program reads {VERSION}")


def _segmentation(content: dict, expression: dict) -> Segmentation:
    return Segmentation(
        text=expression["text"],
        num_frames=content["num_frames"],
        size=(content["height"], content["width"]),
        fps=content["fps"],
        frames=np.array(content["frames"], dtype=np.int64),
        relevance=np.array(expression["relevance"], dtype=np.float32),
        moments=[(start, end) for start, end in expression["moments"]],
        rle=expression["masks"],
    )

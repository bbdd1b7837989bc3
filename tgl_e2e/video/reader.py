"""Reading of video, one frame at a time: memory does not grow with a video's length.

Frames are numbered from 0 in the order in which the decoder hands them out (which is the order of
display), whatever their timestamps; a video of variable frame rate has one number per frame too.
"""

from __future__ import annotations

import os
from pathlib import Path

from tgl_e2e.errors import InputError
from tgl_e2e.video.file import VideoFile
from tgl_e2e.video.source import VideoSource
from tgl_e2e.video.still import Animation, ImageArray, ImageFolder


def open_video(source: object) -> VideoSource:
    """A VideoSource from the path of a video file, the path of a folder of frames, an array or
    tensor (T, H, W, 3) uint8, a sequence of (H, W, 3) uint8 arrays or PIL images.

    InputError if it is none of these, or if not even one frame can be read.
    """
    if isinstance(source, VideoSource):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder, check the path of the video")
        if path.is_dir():
            return ImageFolder(path)
        return Animation(path) if path.suffix.lower() == ".webp" else VideoFile(path)
    return ImageArray(source)

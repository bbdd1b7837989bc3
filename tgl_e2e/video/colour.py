"""High dynamic range and wide gamuts brought to what networks and pictures expect: sRGB.

Phones record HLG or PQ in BT.2020. Read as if it were SDR it looks washed out, since FFmpeg's
scaler converts the matrix alone. Numbers are those of ITU-R BT.2100, BT.2408 and SMPTE ST 2084.
"""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np

PQ, HLG = 16, 18  # of FFmpeg's AVColorTransferCharacteristic
LEVELS = 1024  # of the tables: what 10 bits tell apart
WHITE = 203.0  # nits of diffuse white in PQ (BT.2408); HLG has it at a signal of 0.75
KNEE = 0.8  # of white: above it, what is brighter than white is compressed

# Linear RGB of these primaries (AVColorPrimaries) -> linear RGB of BT.709, white D65.
TO_BT709 = {
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    11: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
    12: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}


def needs_conversion(frame: av.VideoFrame) -> bool:
    """Whether a frame is of another transfer or of wider primaries than BT.709's."""
    return int(frame.color_trc) in (PQ, HLG) or int(frame.color_primaries) in TO_BT709


def to_srgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8 sRGB of a frame for which :func:`needs_conversion` holds."""
    deep = frame.to_ndarray(format="rgb48le", width=width, height=height)  # (H, W, 3) uint16
    linear = _linear(int(frame.color_trc))[deep >> 6]  # 10 bits; 1 is white
    matrix = np.array(TO_BT709.get(int(frame.color_primaries), np.eye(3)), np.float32)
    linear = linear @ matrix.T
    index = np.sqrt(np.clip(linear, 0, 1)) * (4 * LEVELS - 1)  # finer where it is dark
    return _encoded()[index.astype(np.uint16)]


@lru_cache
def _linear(transfer: int) -> np.ndarray:
    """(LEVELS,) float32: linear light of a signal from 0 to 1, as a share of diffuse white, with
    what is brighter brought below 1."""
    signal = np.linspace(0, 1, LEVELS)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = signal ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    elif transfer == HLG:
        light = _hlg_scene(signal) / _hlg_scene(np.array(0.75))
    else:
        light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
        return light.astype(np.float32)
    over = np.maximum(light - KNEE, 0)
    room = 1 - KNEE
    return np.where(light > KNEE, KNEE + room * over / (over + room), light).astype(np.float32)


def _hlg_scene(signal: np.ndarray) -> np.ndarray:
    """Inverse OETF of HLG (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


@lru_cache
def _encoded() -> np.ndarray:
    """(4 * LEVELS,) uint8 sRGB of the square root of linear light."""
    light = np.linspace(0, 1, 4 * LEVELS) ** 2
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(signal * 255).astype(np.uint8)

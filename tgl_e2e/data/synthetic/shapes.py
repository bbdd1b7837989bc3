"""What an object can look like: outlines, colours, fills and sizes.

Outlines are polygons in unit coordinates: x to the right, y down, the centre at the origin and
about one unit of radius, so that an object of radius r (in frame sides) is its outline times r.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tgl_e2e.data.nouns import listed

# The order of these tuples is fixed for ever: trained heads and stored labels refer to the index.
SHAPES = listed(
    "circle square triangle star heart ring cross crescent diamond hexagon arrow fish bird car tree"
)
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
FILLS = ("plain", "stripes", "dots")
SIZES = ("small", "medium", "big")

EASY_SHAPES = SHAPES[:6]
EASY_FILLS = FILLS[:1]

RGB = {
    "red": (215, 25, 30),
    "green": (35, 165, 50),
    "blue": (35, 65, 220),
    "yellow": (245, 225, 35),
    "purple": (145, 45, 185),
    "orange": (248, 130, 15),
    "cyan": (45, 215, 225),
    "white": (246, 246, 246),
}
# Radius in units of the frame side; the gaps between the ranges keep the size words honest.
RADIUS = {"small": (0.080, 0.095), "medium": (0.120, 0.138), "big": (0.172, 0.198)}

# A plain disc looks the same at every angle.
ROUND = ("circle", "ring")
CAN_ROLL = ("circle", "square", "star", "ring", "cross", "hexagon")


@dataclass(frozen=True)
class Outline:
    """Polygons of one shape, each (N, 2): the body, what is cut out of it, dark details on it."""

    body: list[np.ndarray]
    holes: list[np.ndarray] = field(default_factory=list)
    details: list[np.ndarray] = field(default_factory=list)


def visible_rotation(shape: str, fill: str) -> bool:
    """Whether turning the object can be seen."""
    return shape not in ROUND or fill != "plain"


def can_roll(shape: str, fill: str) -> bool:
    """Whether the object may roll: nearly round, and its rotation can be seen."""
    return shape in CAN_ROLL and visible_rotation(shape, fill)


@cache
def outline(shape: str) -> Outline:
    """The polygons of a shape in unit coordinates."""
    if shape == "circle":
        return Outline([_disc(1.0)])
    if shape == "square":
        return Outline([_box(-0.86, -0.86, 0.86, 0.86)])
    if shape == "triangle":
        return Outline([_regular(3, 1.2, -90) + np.array([0, 0.12])])
    if shape == "star":
        tips, dents = _regular(5, 1.2, -90), _regular(5, 0.5, -54)
        return Outline([np.stack([tips, dents], 1).reshape(-1, 2)])
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return Outline([np.stack([16 * np.sin(t) ** 3, -y - 2], 1) / 15])
    if shape == "ring":
        return Outline([_disc(1.05)], holes=[_disc(0.58)])
    if shape == "cross":
        return Outline([_box(-1.05, -0.34, 1.05, 0.34), _box(-0.34, -1.05, 0.34, 1.05)])
    if shape == "crescent":
        # The outer arc of a disc, back along the edge of a smaller disc shifted to the right.
        outer = np.radians(np.linspace(48, 312, 36))
        tip = np.array([np.cos(outer[0]), np.sin(outer[0])])
        centre = np.array([0.55, 0.0])
        reach = np.hypot(*(tip - centre))
        half = np.arctan2(tip[1], tip[0] - centre[0])
        inner = np.linspace(2 * np.pi - half, half, 30)
        points = np.concatenate([_arc(outer, 1.0), _arc(inner, reach) + centre])
        return Outline([points * 1.12 + [0.2, 0]])
    if shape == "diamond":
        return Outline([np.array([[0, -1.25], [0.72, 0], [0, 1.25], [-0.72, 0]])])
    if shape == "hexagon":
        return Outline([_regular(6, 1.05, 0)])
    if shape == "arrow":
        head = [[0.1, -0.85], [1.2, 0], [0.1, 0.85]]
        return Outline([_box(-1.15, -0.3, 0.15, 0.3), np.array(head)])
    return _drawn(shape)


@cache
def pattern(fill: str) -> tuple[np.ndarray, ...]:
    """The dark polygons of a fill in unit coordinates, covering any outline; () for plain."""
    if fill == "stripes":
        return tuple(_box(x, -1.5, x + 0.22, 1.5) for x in np.arange(-1.46, 1.4, 0.54))
    if fill == "dots":
        rows = np.arange(-3, 4)
        return tuple(
            _disc(0.16, 12, 0.56 * (i + 0.5 * (j % 2)), 0.48 * j) for i in rows for j in rows
        )
    return ()


def _drawn(shape: str) -> Outline:
    """Simple pictures of things, facing right."""
    if shape == "fish":
        t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        body = np.stack([0.82 * np.cos(t) + 0.3, 0.56 * np.sin(t)], 1)
        tail = np.array([[-0.3, 0.0], [-1.15, -0.68], [-0.92, 0.0], [-1.15, 0.68]])
        return Outline([body, tail], details=[_disc(0.12, 10, 0.72, -0.12)])
    if shape == "bird":
        t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        body = np.stack([0.72 * np.cos(t) - 0.05, 0.42 * np.sin(t) + 0.22], 1)
        head = _disc(0.34, 20, 0.62, -0.22)
        beak = np.array([[0.88, -0.34], [1.28, -0.14], [0.88, -0.02]])
        wing = np.array([[0.3, 0.1], [-0.55, -1.0], [-0.62, 0.2]])
        tail = np.array([[-0.6, 0.1], [-1.2, -0.15], [-1.15, 0.42], [-0.6, 0.45]])
        return Outline([body, head, beak, wing, tail], details=[_disc(0.1, 10, 0.68, -0.28)])
    if shape == "car":
        cabin = np.array([[-0.68, -0.1], [-0.46, -0.66], [0.3, -0.66], [0.62, -0.1]])
        wheels = [_disc(0.3, 20, x, 0.44) for x in (-0.62, 0.62)]
        window = np.array([[-0.5, -0.14], [-0.36, -0.52], [0.22, -0.52], [0.42, -0.14]])
        hubs = [_disc(0.2, 16, x, 0.44) for x in (-0.62, 0.62)]
        return Outline([_box(-1.2, -0.12, 1.2, 0.42), cabin, *wheels], details=[window, *hubs])
    if shape == "tree":
        crown = [
            np.array([[0, -1.25], [0.55, -0.45], [-0.55, -0.45]]),
            np.array([[0, -0.8], [0.75, 0.1], [-0.75, 0.1]]),
            np.array([[0, -0.35], [0.95, 0.65], [-0.95, 0.65]]),
        ]
        trunk = _box(-0.2, 0.65, 0.2, 1.15)
        return Outline([*crown, trunk], details=[trunk])
    raise ValueError(f"unknown shape {shape!r}; known are {', '.join(SHAPES)}")


def _regular(sides: int, radius: float, first: float) -> np.ndarray:
    return _arc(np.radians(first + 360 / sides * np.arange(sides)), radius)


def _disc(radius: float, sides: int = 40, x: float = 0, y: float = 0) -> np.ndarray:
    return _regular(sides, radius, 0) + np.array([x, y])


def _arc(angles: np.ndarray, radius: float) -> np.ndarray:
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

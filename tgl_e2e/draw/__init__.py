"""Pictures: of a result, and with ``python -m tgl_e2e.draw`` of whole evaluations."""

from tgl_e2e.draw.overlay import colour, draw_overlay, overlay_of, spread
from tgl_e2e.draw.timeline import THUMBNAIL_SIDE, draw_strip, draw_timeline

__all__ = [
    "THUMBNAIL_SIDE",
    "colour",
    "draw_overlay",
    "draw_strip",
    "draw_timeline",
    "overlay_of",
    "spread",
]

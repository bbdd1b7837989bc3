"""Pictures of a result: masks on frames, relevance over time."""

from tgl_e2e.draw.overlay import colour, draw_overlay, overlay_of, spread
from tgl_e2e.draw.timeline import THUMBNAIL_SIDE, draw_timeline

__all__ = ["THUMBNAIL_SIDE", "colour", "draw_overlay", "draw_timeline", "overlay_of", "spread"]

"""Temporally grounded referring video object segmentation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tgl_e2e.config import TGLConfig
    from tgl_e2e.inference.segmenter import VideoSegmenter
    from tgl_e2e.model.tgl import TGL
    from tgl_e2e.results import FrameResult, Segmentation

__version__ = "0.1.0"

_HOMES = {
    "TGL": "tgl_e2e.model.tgl",
    "TGLConfig": "tgl_e2e.config",
    "VideoSegmenter": "tgl_e2e.inference.segmenter",
    "Segmentation": "tgl_e2e.results",
    "FrameResult": "tgl_e2e.results",
}
__all__ = ["TGL", "FrameResult", "Segmentation", "TGLConfig", "VideoSegmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch and transformers take seconds, and the data tools and --help
    # need neither.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tgl_e2e' has no attribute {name!r}")

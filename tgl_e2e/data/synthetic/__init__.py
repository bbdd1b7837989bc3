"""Synthetic video `motion`: shapes that move, sentences about them, exact masks and moments.

    scene = make_scene(seed=7, level="easy")
    rendered = render(scene, range(scene.num_frames), size=128)
    expression = scene.expressions[0]
    rendered.rgb, rendered.ids          (T, H, W, 3), (T, H, W)
    expression.text, expression.objects, scene.relevant(expression)

`python -m tgl_e2e.data.synthetic` writes a data set in MeViS format.
"""

from .cast import held_out
from .generate import absent_expression, appearance_expression, make_scene
from .motions import MOTIONS
from .render import Rendered, render
from .scene import CUES, KINDS, LEVELS, SPLITS, Expression, Scene, SceneObject, Segment
from .shapes import COLOURS, FILLS, SHAPES, SIZES

__all__ = [
    "COLOURS",
    "CUES",
    "FILLS",
    "KINDS",
    "LEVELS",
    "MOTIONS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "Expression",
    "Rendered",
    "Scene",
    "SceneObject",
    "Segment",
    "absent_expression",
    "appearance_expression",
    "held_out",
    "make_scene",
    "render",
]

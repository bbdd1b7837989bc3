"""Synthetic video: things that move, sentences about them, exact masks and moments.

    scene = make_scene(seed=7, level="easy")
    rendered = render(scene, range(scene.num_frames), size=128)
    expression = scene.expressions[0]
    rendered.rgb, rendered.ids          (T, H, W, 3), (T, H, W)
    expression.text, expression.objects, scene.relevant(expression)

`python -m tgl_e2e.data.synthetic` writes a data set in MeViS format. In the order of their making:

    scene       what a scene is           shapes, motions   what things look like, and can do
    plan        who is there, does what   layout            when, and where
    describe    which things are meant    grammar, express  in which words
    generate    make_scene: all of it     sprites, sprite_scenes   `scenes`: cut-outs, and as what
    render      drawn, of either kind     record, write     size, frame rate and codec; files
"""

from .generate import absent_expression, appearance_expression, make_scene
from .motions import MOTIONS
from .plan import held_out
from .render import Rendered, render
from .scene import CUES, KINDS, LEVELS, SPLITS, Expression, Scene
from .shapes import COLOURS, FILLS, SHAPES, SIZES

__all__ = ["COLOURS", "CUES", "FILLS", "KINDS", "LEVELS", "MOTIONS", "SHAPES", "SIZES", "SPLITS"]
__all__ += ["Expression", "Rendered", "Scene", "absent_expression", "appearance_expression"]
__all__ += ["held_out", "make_scene", "render"]

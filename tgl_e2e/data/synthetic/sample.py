"""Writes one scene of `motion` as a video file, to try the network on.

    python -m tgl_e2e.data.synthetic.sample --seed 5 --level easy --output sample.mp4

Prints its sentences with the moments that hold for them.
"""

from __future__ import annotations

import argparse
import sys

from tgl_e2e.data.synthetic import LEVELS, SPLITS, make_scene, render
from tgl_e2e.errors import InputError
from tgl_e2e.video.writer import VideoWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", required=True, help="video file to write (.mp4)")
    parser.add_argument("--level", choices=LEVELS, default="easy")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="valid_u",
        help="valid_u and valid share no scene with training (default: valid_u)",
    )
    parser.add_argument("--size", type=int, default=256, help="side in pixels (default: 256)")
    arguments = parser.parse_args()
    try:
        scene = make_scene(arguments.seed, level=arguments.level, split=arguments.split)
        size = (arguments.size, arguments.size)
        rendered = render(scene, range(scene.num_frames), size)
        with VideoWriter(arguments.output, scene.fps, size) as writer:
            for frame in rendered.rgb:
                writer.write(frame)
    except (InputError, ValueError, OSError) as error:
        print(f"sample: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{arguments.output}: {scene.num_frames} frames")
    for expression in scene.expressions:
        spans = {span for moments in expression.moments.values() for span in moments}
        print(f'  "{expression.text}"  {sorted(spans)}')


if __name__ == "__main__":
    main()

"""Trains the byte-level BPE of networks from scratch on the sentences of `motion`.

    python -m tgl_e2e.tools.train_tokenizer --output tgl_e2e/presets/tokenizer

The package ships its product; a checkpoint carries its own copy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tgl_e2e import cli
from tgl_e2e.data.synthetic import make_scene
from tgl_e2e.model.text import train_tokenizer


def sentences(scenes: int) -> Iterator[str]:
    """All expressions of the first ``scenes`` training scenes, moving and still, of both levels."""
    for seed in range(scenes):
        for level in ("easy", "full"):
            for static in (False, True):
                scene = make_scene(seed, level=level, static=static)
                yield from (expression.text for expression in scene.expressions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = cli.Parser(prog="python -m tgl_e2e.tools.train_tokenizer", description=__doc__)
    parser.add_argument("--output", required=True, help="folder for vocab.json and merges.txt")
    parser.add_argument("--vocab-size", type=int, default=800, help="default: %(default)s")
    parser.add_argument("--scenes", type=int, default=1500, help="default: %(default)s")
    args = parser.parse_args(arguments)
    texts = sentences(args.scenes)
    return cli.run("train_tokenizer", lambda: train_tokenizer(texts, args.vocab_size, args.output))


if __name__ == "__main__":
    sys.exit(main())

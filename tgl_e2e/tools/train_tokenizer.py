"""Trains the byte-level BPE of networks from scratch on the sentences of `motion`.

    python -m tgl_e2e.tools.train_tokenizer --output tgl_e2e/presets/tokenizer

The package ships its product; a checkpoint carries its own copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tgl_e2e.data.synthetic import make_scene
from tgl_e2e.model.text import train_tokenizer


def sentences(scenes: int) -> Iterator[str]:
    """All expressions of the first ``scenes`` training scenes, moving and still, of both levels."""
    for seed in range(scenes):
        for level in ("easy", "full"):
            for static in (False, True):
                scene = make_scene(seed, level=level, static=static)
                yield from (expression.text for expression in scene.expressions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder for vocab.json and merges.txt")
    parser.add_argument("--vocab-size", type=int, default=800)
    parser.add_argument("--scenes", type=int, default=1500)
    arguments = parser.parse_args()
    train_tokenizer(sentences(arguments.scenes), arguments.vocab_size, arguments.output)


if __name__ == "__main__":
    main()

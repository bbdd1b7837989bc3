"""Converts published data sets into the layouts that the readers want.

  python -m tgl_e2e.tools.convert refcoco refcoco+ --source refcoco+ --output data/refcoco
  python -m tgl_e2e.tools.convert ref-davis --davis DAVIS --texts davis_text_annotations \\
      --output data/ref-davis

RefCOCO's pictures (COCO train2014) belong into OUTPUT/train2014. Ref-YouTube-VOS and MeViS are read
as they are published.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e import cli
from tgl_e2e.tools.convert.ref_davis import convert_ref_davis
from tgl_e2e.tools.convert.refcoco import SPLITS_BY, convert_refcoco

PROG = "python -m tgl_e2e.tools.convert"


def parser() -> cli.Parser:
    parser = cli.Parser(prog=PROG, description=__doc__)
    commands = parser.add_subparsers(dest="dataset", required=True, parser_class=cli.Parser)
    refcoco = commands.add_parser("refcoco", help="refs(*).p and instances.json to COCO's JSON")
    refcoco.add_argument("kind", choices=list(SPLITS_BY))
    refcoco.add_argument("--source", type=Path, required=True, help="folder of both files")
    refcoco.add_argument("--by", help="whose split: unc, google or umd")
    davis = commands.add_parser("ref-davis", help="DAVIS 2017 and four text files")
    davis.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/480p")
    davis.add_argument("--texts", type=Path, required=True, help="folder of Davis17_annot*.txt")
    davis.add_argument("--link", action="store_true", help="link to pictures instead of copying")
    for command in (refcoco, davis):
        command.add_argument("--output", type=Path, required=True, help="root of the converted set")
    return parser


def convert(options: Namespace) -> None:
    if options.dataset == "refcoco":
        counts = convert_refcoco(options.source, options.output, options.kind, options.by)
    else:
        counts = convert_ref_davis(options.davis, options.texts, options.output, options.link)
    for split, count in counts.items():
        print(f"{options.output}: {split}, {count} expressions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    return cli.run("convert", lambda: convert(options))


if __name__ == "__main__":
    sys.exit(main())

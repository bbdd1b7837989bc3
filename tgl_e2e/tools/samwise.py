"""Converts a checkpoint of SAMWISE (Cuttano et al., CVPR 2025) into one of ours.

  python -m tgl_e2e.tools.samwise mevis.pth --output checkpoints/samwise --roberta roberta-base

It then runs with infer.py, evaluate and TGL.from_pretrained as any other, or is where a training
begins (train.py --config samwise-b --stage video --init FOLDER). It has no TAM: every frame takes
the language path, unless moments are given.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgl_e2e import cli
from tgl_e2e.errors import InputError

PROG = "python -m tgl_e2e.tools.samwise"
# SAMWISE's names -> ours; the first that fits.
RENAMED = ((r"^sam\.sam_prompt_encoder\.project_text\.", "prompt."), (r"^sam\.", "vision.sam."))
_ADAPTER = r"^cmt_adapters\.(\d+)\."
RENAMED += tuple(
    (_ADAPTER + theirs, rf"adapters.\1.{ours}")
    for theirs, ours in (
        (r"proj_vis_(down|up)\.", r"visual_\2."),
        (r"proj_text_(down|up)\.0\.", r"text_\2."),
        (r"ca_V2T\.multihead_attn\.", "visual_attends_text.attention."),
        (r"ca_T2V\.multihead_attn\.", "text_attends_visual.attention."),
        (r"hsa\.self_attn\.", "temporal.attention."),
        (r"hsa\.linear\.", "temporal.linear."),
        (r"norm_pre_HSA\.", "temporal.norm."),
        (r"spatial_pos_embed$", "temporal.position"),
    )
)
_CME = r"^conditional_memory_encoder\."
RENAMED += (  # SAMWISE's forward does not use its second norm
    (_CME + r"transformerBlock\.norm3\.", "conditional.block.norm2."),
    (_CME + r"transformerBlock\.(?!norm2)", "conditional.block."),
    (_CME + r"decision_token\.", "conditional.token."),
    (_CME + r"decision_class_head\.", "conditional.head."),
)
PATCHES = (8, 4, 2)  # of a network that was trained without temporal attention
LEFT = {  # what our network does not take from the file
    "text_encoder": "fairseq's RoBERTa, which is frozen: transformers' copy takes its place",
    "conditional_memory_encoder": "a norm that SAMWISE does not use",
}


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Any]:
    """The tensors of a published file, by SAMWISE's names, and the arguments of its training, if
    they are there; nothing but an argparse.Namespace of plain values is unpickled beside tensors.

    Raises:
        InputError: no such file, or not of that format.
    """
    import torch

    if not path.is_file():
        raise InputError(f"{path}: no such file; SAMWISE's README links to the published ones")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many types for a damaged or a hostile file
        reason = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0][:120]
        raise InputError(f"{path}: not a readable checkpoint ({reason}); get it again") from None
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(torch.is_tensor(value) for value in state.values()):
        raise InputError(f"{path}: no tensors under 'model'; this is no checkpoint of SAMWISE")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if not any(name.startswith("cmt_adapters.") for name in state):
        raise InputError(f"{path}: no cmt_adapters in it; this is no checkpoint of SAMWISE")
    return state, content.get("args")


def renamed(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Tensors by our names, and how many were left out, by the first part of their names."""
    ours, left = {}, {}
    for name, value in state.items():
        for pattern, new in RENAMED:
            name, found = re.subn(pattern, new, name)
            if found:
                ours[name] = value.flatten(0, -2) if name.endswith(".position") else value
                break
        else:
            part = name.partition(".")[0]
            left[part] = left.get(part, 0) + 1
    return ours, left


def configuration(state: dict[str, Any], architecture: str, image_size: int, roberta: str):
    """The TGLConfig of tensors by our names."""
    from tgl_e2e.config import TGLConfig

    positions = [state.get(f"adapters.{i}.temporal.position") for i in range(3)]
    patches = PATCHES if positions[0] is None else [round(len(p) ** 0.5) for p in positions]
    overrides: dict[str, Any] = {}
    if "vision.sam.no_obj_ptr" not in state:  # trained without presence: objects are always there
        presence = ("pred_obj_scores", "pred_obj_scores_mlp", "fixed_no_obj_ptr")
        overrides = dict.fromkeys(presence, False)
    return TGLConfig.from_preset("samwise-b").with_values(
        **{
            "vision.architecture": architecture,
            "vision.image_size": image_size,
            "vision.overrides": overrides,
            "vision.base": None,
            "text.base": roberta,
            "adapter.dim": len(state["adapters.0.text_down.weight"]),
            "adapter.patch_sizes": list(patches),
            "prompt.kind": "samwise",
            "memory.conditional": "conditional.token.weight" in state,
            "tam.enabled": False,
        }
    )


def convert(options: argparse.Namespace) -> None:
    import torch

    from tgl_e2e.model.tensors import check_tensors
    from tgl_e2e.model.tgl import TGL

    state, trained = read_checkpoint(options.file)
    state, left = renamed(state)
    cme = options.cme == "on" or (
        options.cme == "auto" and getattr(trained, "use_cme_head", True) is True
    )
    if not cme:
        state = {name: x for name, x in state.items() if not name.startswith("conditional.")}
    config = configuration(state, options.architecture, options.image_size, options.roberta)
    model = TGL(config)
    model.bases_from_config = False  # SAM2 comes from the file
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("text.")}
    used = {name: value for name, value in state.items() if name in own}
    fresh = {name for name in own if ".temporal." in name} - set(used)
    remedy = "give the --architecture that it was trained with"
    check_tensors(used, own, str(options.file), remedy, may_lack=fresh)
    model.load_state_dict(used, strict=False)
    if fresh:
        with torch.no_grad():  # adds nothing until it is trained
            for adapter in model.adapters:
                adapter.temporal.linear.weight.zero_()
                adapter.temporal.linear.bias.zero_()
    model.save_pretrained(options.output, include_frozen=True)
    print(f"{options.output}: {len(used)} tensors of {options.file}")
    if fresh:
        print("fresh: temporal attention of the adapters, which the file has none of")
    if config.vision.overrides:
        print("no presence head in the file: objects are taken to be always there")
    for part, count in sorted(left.items()):
        print(f"left: {count} tensors {part}.* ({LEFT.get(part, 'unknown to this network')})")
    unused = sorted(set(state) - set(own))
    if unused:
        print(f"left: {len(unused)} tensors, first {unused[0]} (unknown to this network)")
    if not config.memory.conditional:
        print("no conditional memory encoding: frames are remembered as they were segmented")
    print("no TAM: every frame counts as relevant (--moments all) unless moments are given")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = cli.Parser(prog=PROG, description=__doc__)
    add, text = parser.add_argument, "hub id or folder of RoBERTa (default: %(default)s)"
    add("file", type=Path, help="a published .pth")
    add("--output", type=Path, required=True, help="folder of the checkpoint")
    add("--roberta", default="FacebookAI/roberta-base", help=text)
    add("--architecture", default="sam2_hiera_b+", help="default: %(default)s")
    add("--image-size", type=int, default=1024, help="default: %(default)s")
    text = "conditional memory encoding; auto: where the file says that it was trained (default)"
    add("--cme", default="auto", choices=("auto", "on", "off"), help=text)
    options = parser.parse_args(arguments)
    return cli.run("samwise", lambda: convert(options))


if __name__ == "__main__":
    sys.exit(main())

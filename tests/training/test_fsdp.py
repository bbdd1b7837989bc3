"""Sharded training, on two processes without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from training_runs import ROOT, SMALL, log

from tgl_e2e import TGL


def test_gradients_of_shards_are_measured_and_clipped(tmp_path):
    """In bf16, as fsdp.yaml has it. Behind a clip_norm far below Adam's epsilon nothing moves."""
    folder, start = tmp_path / "run", ROOT / "checkpoints" / "tgl-tiny"
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parent / "fsdp_on_cpu.py"),
            *("--config", "tiny", "--stage", "video", "--mixed-precision", "bf16"),
            *("--init", str(start), "--output", str(folder), "--max-steps", "2"),
            *SMALL,
            *("valid_split=", "lr=0.01", "sam_lr_factor=0.5", "weight_decay=0", "clip_norm=1e-12"),
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=600,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = log(folder)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["grad_norm"] > 1e-3 for row in rows)
    before, after = (dict(TGL.from_pretrained(path).named_parameters()) for path in (start, folder))
    moved = max((after[name] - value).abs().max().item() for name, value in before.items())
    assert torch.isfinite(torch.tensor(moved)) and moved < 1e-4  # unclipped it would be 0.01

"""train.py on two processes as fsdp.yaml starts it, without a GPU: python fsdp_on_cpu.py ARGUMENTS.

Accelerate shards on accelerators only; to it these are some. What FSDP does is the same.
"""

import faulthandler
import os
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from accelerate import PartialState
from accelerate.utils import DistributedType

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
import train  # noqa: E402


def work(rank: int) -> int:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    return train.main()


if __name__ == "__main__":
    faulthandler.enable()
    if os.environ.get("RANK") == "1":
        sys.exit(work(1))
    preset = ROOT / "tgl_e2e" / "presets" / "accelerate" / "fsdp.yaml"
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in yaml.safe_load(preset.read_text())["fsdp_config"].items():
        name = name.upper().replace("TRANSFORMER_LAYER_CLS", "TRANSFORMER_CLS")
        os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    # Not a fork: threads of PyTorch would be missing in it.
    other = subprocess.Popen([sys.executable, *sys.argv], env=os.environ | {"RANK": "1"})
    sys.exit(work(0) or other.wait())

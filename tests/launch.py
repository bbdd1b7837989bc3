"""How a command is started on two processes, as a user does it."""

import sys

# `--multi_gpu` is accelerate's word for several processes on one machine; without any GPU they talk
# over gloo.
LAUNCH_TWO = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
    "--main_process_port",
    "0",
]

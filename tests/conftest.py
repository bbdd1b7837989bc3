"""Networks and frames shared by the tests. None of the tests may leave them changed."""

import os

import pytest
import torch
from networks import build
from torch import Tensor

from tgl_e2e import TGL
from tgl_e2e.data.synthetic import make_scene, render

if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker and for what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--kills",
        type=int,
        default=3,
        help="how often the training test is killed while it saves its state",
    )


HIERA_SIZE = 256  # full width, a sixteenth of the tokens of 1024


@pytest.fixture(scope="session")
def hiera() -> TGL:
    """hiera-b at full width, untrained adapters."""
    return build("hiera-b", **{"vision.image_size": HIERA_SIZE})


@pytest.fixture(scope="session")
def tiny() -> TGL:
    """The small network, untrained adapters."""
    return build("tiny")


def draw_frames(seed: int, size: int, count: int) -> Tensor:
    """(T, 3, S, S) uint8: neighbouring frames of a moving scene."""
    scene = make_scene(seed, level="full", num_frames=48)
    rgb = render(scene, range(0, 2 * count, 2), size).rgb
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="session")
def hiera_frames() -> Tensor:
    """(16, 3, 256, 256) uint8"""
    return draw_frames(3, HIERA_SIZE, 16)


@pytest.fixture(scope="session")
def tiny_frames() -> Tensor:
    """(3, 8, 3, 128, 128) uint8: three clips of eight frames."""
    return torch.stack([draw_frames(seed, 128, 8) for seed in (5, 6, 7)])

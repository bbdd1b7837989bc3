"""Whether tensors from a file are those of a network."""

from __future__ import annotations

from collections.abc import Container, Mapping

from torch import Tensor

from tgl_e2e.errors import InputError


def check_tensors(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    where: str,
    remedy: str,
    may_lack: Container[str] = (),
) -> None:
    """InputError that names the first tensor which is missing, of another shape or too many.

    Args:
        where: for the message: "checkpoint runs/video", which holds ``found``.
        remedy: what to do about any of that.
        may_lack: names that need not be there.
    """
    for name, value in expected.items():
        if name not in found:
            if name in may_lack:
                continue
            raise InputError(f"{where}: tensor {name!r} is missing; {remedy}")
        if found[name].shape != value.shape:
            raise InputError(
                f"{where}: tensor {name!r} is {tuple(found[name].shape)}, expected "
                f"{tuple(value.shape)}; {remedy}"
            )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise InputError(f"{where}: unexpected tensor {unknown[0]!r}; {remedy}")

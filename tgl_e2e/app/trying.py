"""Routes of the first job: a video in, masks and moments out."""

from __future__ import annotations

import asyncio
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from tgl_e2e.app.jobs import RESULTS, Job, Jobs
from tgl_e2e.app.uploads import Uploads
from tgl_e2e.draw.overlay import colour
from tgl_e2e.errors import InputError
from tgl_e2e.files import replacing
from tgl_e2e.inference.output_folder import OVERLAY

# Drawn shapes, and the network that knows them; they are in a clone, not in an installed package.
EXAMPLE = Path(__file__).parents[2] / "checkpoints" / "tgl-tiny" / "sample.mp4"
EXAMPLE_TEXTS = ["the white circle going upwards"]
NO_NETWORK = "no network here: start the page with --checkpoint DIR"
ZIP = "results.zip"
READ_ON, READ_ON_SECONDS = 2**24, 2  # bytes of a refused upload


class Run(BaseModel):
    """What to do with an upload (or the example). No name in it is a file's name."""

    upload: str
    texts: Annotated[
        list[Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]],
        Field(max_length=16),
    ]
    moments: Annotated[str, StringConstraints(pattern=r"^(auto|all|top-k:[1-9][0-9]{0,5})$")] = (
        "auto"
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    always_target: bool = False
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:[0-9])?)$")] = "auto"


def routes(jobs: Jobs, uploads: Uploads, checkpoint: str | None) -> APIRouter:
    router = APIRouter(prefix="/api")

    @router.get("/example")
    def example() -> dict:
        return {"name": EXAMPLE.name, "texts": EXAMPLE_TEXTS, "network": EXAMPLE.parent.name}

    @router.get("/example.mp4")
    def example_video() -> FileResponse:
        return FileResponse(EXAMPLE, media_type="video/mp4")

    @router.post("/uploads")
    async def upload(request: Request, name: str = "video") -> dict:
        """The body is the file itself."""
        path = uploads.new_path()
        size = 0
        try:
            uploads.check_size(int(request.headers.get("content-length") or 0))
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    uploads.check_size(size)
                    await run_in_threadpool(file.write, chunk)
        except BaseException as error:  # too large, a closed tab, a full disk
            path.unlink(missing_ok=True)
            if isinstance(error, InputError):
                await _read_on(request)
            if isinstance(error, OSError):
                raise InputError(f"{name}: cannot be kept ({error.strerror})") from None
            raise
        accepted, facts = await run_in_threadpool(uploads.accept, path, name)
        return {"id": accepted.id, "name": accepted.name, **facts}

    @router.post("/runs")
    def run(request: Run) -> dict:
        texts = [text for text in request.texts if text]
        if not texts:
            raise InputError("write at least one expression")
        if request.upload == "example":
            video, name, network = str(EXAMPLE), EXAMPLE.name, str(EXAMPLE.parent)
        else:
            found = uploads.get(request.upload)
            video, name, network = str(found.path), found.name, checkpoint
        if network is None:
            raise InputError(NO_NETWORK)
        order = {"kind": "segment", "video": video, "name": name, "checkpoint": network}
        return _status(jobs, jobs.add({**request.model_dump(), **order, "texts": texts}))

    @router.get("/runs/{name}")
    def status(name: str) -> dict:
        return _status(jobs, jobs.get(name))

    @router.get("/runs/{name}/result")
    def result(name: str) -> dict:
        return _done(jobs, name).result

    @router.post("/runs/{name}/cancel")
    def cancel(name: str) -> dict:
        job = jobs.get(name)
        jobs.cancel(job)
        return _status(jobs, job)

    @router.get("/runs/{name}/overlay.mp4")
    def overlay(name: str) -> FileResponse:
        return FileResponse(_done(jobs, name).folder / RESULTS / OVERLAY, media_type="video/mp4")

    @router.get("/runs/{name}/results.zip")
    def results(name: str) -> FileResponse:
        job = _done(jobs, name)
        stem = Path(job.request["name"]).stem or "video"
        path = job.folder / ZIP
        if not path.exists():
            _pack(job.folder / RESULTS, path, stem)
        return FileResponse(path, media_type="application/zip", filename=f"{stem}.zip")

    return router


async def _read_on(request: Request) -> None:
    """Reads and forgets, for a while: who is still sending when the connection closes sees no
    answer."""

    async def read() -> None:
        left = READ_ON
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), READ_ON_SECONDS)


def web_colour(n: int) -> str:
    """The colour of the n-th expression or object, as in every picture, for style sheets."""
    return "#{:02x}{:02x}{:02x}".format(*colour(n))


def _done(jobs: Jobs, name: str) -> Job:
    job = jobs.get(name)
    if job.state != "done" or job.request["kind"] != "segment":
        raise InputError("this run has no results")
    return job


def _status(jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "place": jobs.place(job),
        "stage": job.stage,
        "done": job.done,
        "total": job.total,
        "error": job.error,
        "notes": job.result.get("notes", []),
    }


def _pack(folder: Path, path: Path, stem: str) -> None:
    """What infer.py writes, as one file."""
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for found in sorted(folder.rglob("*")):
            if found.is_file():
                file.write(found, os.path.join(stem, found.relative_to(folder)))

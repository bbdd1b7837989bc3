"""The web server: what it hands out, to whom, and how it says no."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from tgl_e2e.app import annotate, trying
from tgl_e2e.app.jobs import Jobs
from tgl_e2e.app.library import Library
from tgl_e2e.app.uploads import Uploads
from tgl_e2e.errors import InputError

STATIC = Path(__file__).parent / "static"
LOCAL = ("127.0.0.1", "localhost", "::1")
MAX_BODY = 2**22  # bytes of a request that is no upload
HEADERS = {
    # Nothing from elsewhere, whatever a file or a text would like.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' "
    "blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_app(
    jobs: Jobs, uploads: Uploads, library: Library | None, checkpoint: str | None, host: str
) -> FastAPI:
    """The application.

    Args:
        library: the data set to annotate; None: there is none.
        checkpoint: folder or hub id of the network; None: there is none.
        host: the address that it is served at; one of `LOCAL`: to this machine alone.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    machine = socket.gethostname()
    names = {name.lower() for name in (*LOCAL, host, machine, f"{machine}.local", socket.getfqdn())}

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, host in LOCAL, names)
        if refusal is not None:
            return JSONResponse({"error": refusal}, status_code=403, headers=HEADERS)
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(InputError)
    def mistake(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=422)

    @app.get("/api/about")
    def about() -> dict:
        name = None if checkpoint is None else Path(checkpoint).name
        splits = [] if library is None else library.splits
        return {
            "network": name,
            "splits": splits,
            "data": None if library is None else library.root.resolve().name,
            "example": trying.EXAMPLE.is_file(),
            "max_upload": uploads.limit,
            "colours": [trying.web_colour(n) for n in range(16)],
        }

    app.include_router(trying.routes(jobs, uploads, checkpoint))
    if library is not None:
        app.include_router(annotate.routes(jobs, library, checkpoint))
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _refusal(request: Request, local: bool, names: Collection[str]) -> str | None:
    """Why a request is not answered: other web pages must not use a visitor's browser to reach this
    one, by its own name (cross-site requests) or by one that they made up (DNS rebinding)."""
    host = request.headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        origin = urlsplit(request.headers.get("origin", f"//{host}")).netloc
    except ValueError:
        return "this request names no host"
    if local and name not in LOCAL:
        return f"this page is for this machine alone, open it as {LOCAL[0]}"
    if name not in names and not _is_address(name):
        return "open this page by the address of its machine"
    if origin != host:
        return "this request comes from another page"
    if request.method != "GET" and request.url.path != "/api/uploads":
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or int(length or 0) > MAX_BODY:
            return "this request is too large"
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
        request.method != "GET" or request.url.path.startswith("/api")
    ):
        return "this request comes from another page"
    return None


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False

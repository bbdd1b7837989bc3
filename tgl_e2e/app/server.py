"""The web server: what it hands out, to whom, and how it says no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
LOCAL = ("127.0.0.1", "localhost", "[::1]")
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
    jobs: Jobs, uploads: Uploads, library: Library | None, checkpoint: str | None, local: bool
) -> FastAPI:
    """The application.

    Args:
        library: the data set to annotate; None: there is none.
        checkpoint: folder or hub id of the network; None: there is none.
        local: whether it serves this machine alone.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, local)
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


def _refusal(request: Request, local: bool) -> str | None:
    """Why a request is not answered: other web pages must not use a visitor's browser to reach this
    one, by its own name (cross-site requests) or by one that they made up (DNS rebinding)."""
    host = request.headers.get("host", "")
    if local and urlsplit(f"//{host}").hostname not in [name.strip("[]") for name in LOCAL]:
        return f"this page is for this machine alone, open it as {LOCAL[0]}"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return "this request comes from another page"
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
        request.method != "GET" or request.url.path.startswith("/api")
    ):
        return "this request comes from another page"
    return None

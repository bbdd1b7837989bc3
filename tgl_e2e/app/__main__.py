"""Serves the page: `python -m tgl_e2e.app [--checkpoint DIR] [--root DATASET] [--port N]`."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from tgl_e2e import cli
from tgl_e2e.errors import InputError

PROGRAM = "python -m tgl_e2e.app"
DEFAULT_CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "tgl-lite"
HOST, PORT, MAX_UPLOAD = "127.0.0.1", 8765, 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted; the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)

    def command() -> None:
        try:
            serve(options)
        except KeyboardInterrupt:  # the usual end
            print("stopped", flush=True)

    return cli.run(PROGRAM, command)


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(
        prog=PROGRAM,
        description="A page in the browser: try the network on a video (Try), and mark in which "
        "frames the expressions of a data set hold (Annotate). Nothing leaves this machine.",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder or hub id of a trained network (default: checkpoints/tgl-lite of the clone)",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DATASET", help="data set to annotate, in the layout of MeViS"
    )
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help="address to serve at; another than %(default)s lets everybody in the network look, "
        "upload and annotate (default: %(default)s)",
    )
    parser.add_argument(
        "--max-upload",
        type=int,
        default=MAX_UPLOAD,
        metavar="MB",
        help="largest video that is taken (default: %(default)s)",
    )
    return parser


def serve(options: argparse.Namespace) -> None:
    """Raises InputError for whatever keeps the page from being served."""
    try:
        import uvicorn

        from tgl_e2e.app.jobs import Jobs
        from tgl_e2e.app.library import Library
        from tgl_e2e.app.server import LOCAL, create_app
        from tgl_e2e.app.uploads import Uploads, temporary_folder
    except ModuleNotFoundError as error:
        raise InputError(
            f"the page needs {error.name}: pip install -e '.[app]' (or pip install fastapi uvicorn)"
        ) from None
    if options.max_upload < 1:
        raise InputError(f"--max-upload {options.max_upload}: give at least 1")
    checkpoint = _checkpoint(options.checkpoint)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidy up as after Ctrl-C
    with ExitStack() as stack:
        listening = stack.enter_context(closing(_listen(options.host, options.port)))
        library = Library(options.root) if options.root is not None else None
        stack.enter_context(library or nullcontext())
        folder = stack.enter_context(temporary_folder())
        jobs = stack.enter_context(closing(Jobs(folder)))
        uploads = Uploads(folder, options.max_upload * 2**20)
        app = create_app(jobs, uploads, library, checkpoint, options.host)
        host = f"[{options.host}]" if ":" in options.host else options.host
        if options.host in ("0.0.0.0", "::"):  # no address that a browser knows
            host = socket.gethostname()
        print(f"open http://{host}:{listening.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        if options.host not in LOCAL:
            cli.say(PROGRAM, "everybody who reaches this address can upload and annotate")
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listening])


def _checkpoint(given: str | None) -> str | None:
    if given is not None:
        if not Path(given).is_dir() and (Path(given).is_absolute() or given.count("/") != 1):
            raise InputError(f"--checkpoint {given}: no such folder")
        return given
    if DEFAULT_CHECKPOINT.is_dir():
        return str(DEFAULT_CHECKPOINT)
    cli.say(PROGRAM, f"no network in {DEFAULT_CHECKPOINT}: give --checkpoint to try one")
    return None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port}: give a number from 0 to {2**16 - 1}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # whoever reads the address may connect
    except OSError as error:
        raise InputError(f"{host}, port {port}: {error.strerror}; give another --port") from None
    return listening


if __name__ == "__main__":
    sys.exit(main())

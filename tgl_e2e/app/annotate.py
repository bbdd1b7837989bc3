"""Routes of the second job: moments of a data set, marked by people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, Field, StringConstraints

from tgl_e2e.app.jobs import Jobs
from tgl_e2e.app.library import Library, Split, masks_png, objects_of, visible_spans
from tgl_e2e.app.store import Conflict
from tgl_e2e.app.trying import NO_NETWORK, web_colour
from tgl_e2e.data.annotations import Annotation
from tgl_e2e.data.base import ExpressionRecord
from tgl_e2e.errors import InputError

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$"
    ),
]
Position = Annotated[int, Field(ge=0, strict=True)]
KEEP_PICTURES = {"Cache-Control": "private, max-age=3600"}


class Change(BaseModel):
    """An annotation as the page has it, with the revision that it was made from."""

    annotator: Name
    revision: Annotated[int, Field(ge=0)]
    objects: dict[str, Annotated[list[tuple[Position, Position]], Field(max_length=1000)]]
    state: Literal["open", "done", "unclear"]
    missing: bool = False
    wrong: list[str] = []
    note: Annotated[str, StringConstraints(max_length=2000)] = ""


def routes(jobs: Jobs, library: Library, checkpoint: str | None) -> APIRouter:
    router = APIRouter(prefix="/api/splits/{split}")
    suggestions: dict[tuple[str, str, str], dict] = {}  # results of finished runs

    @router.get("")
    def listing(split: str, annotator: str = "") -> JSONResponse:
        opened = library.split(split)
        videos = [_listed(opened, name, annotator) for name in opened.videos]
        return JSONResponse({"videos": videos})  # FastAPI would walk through it: seconds

    @router.get("/videos/{video}/expressions/{expression}")
    def expression(split: str, video: str, expression: str, annotator: str = "") -> dict:
        asked = suggestions.get((split, video, expression))
        opened = library.split(split)
        return {**_facts(opened, video, expression, annotator), "suggestion": asked}

    @router.put("/videos/{video}/expressions/{expression}")
    def save(split: str, video: str, expression: str, change: Change) -> Response:
        opened = library.split(split)
        record = opened.expression(video, expression)
        _check(change, record, opened.video(video).num_frames)
        objects = {
            obj: [tuple(span) for span in sorted(change.objects.get(obj, []))]
            for obj in objects_of(record)
        }
        values = {**change.model_dump(), "objects": objects}
        try:
            saved = opened.store.save(Annotation(video, expression, **values))
        except Conflict as conflict:
            content = {"error": str(conflict), "annotation": _shown(conflict.current)}
            return JSONResponse(content, status_code=409)
        except InputError as error:  # a full disk: the page tries again
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse({"annotation": _shown(saved)})

    @router.get("/videos/{video}/frames/{position}")
    def frame(split: str, video: str, position: int) -> FileResponse:
        path, media_type = library.split(split).frame(video, position)
        return FileResponse(path, media_type=media_type, headers=KEEP_PICTURES)

    @router.get("/videos/{video}/expressions/{expression}/masks/{position}")
    def masks(split: str, video: str, expression: str, position: int) -> Response:
        opened = library.split(split)
        if not 0 <= position < opened.video(video).num_frames:
            raise InputError(f"video {video} has no frame {position}")
        content = masks_png(opened.expression(video, expression), position)
        return Response(content, media_type="image/png", headers=KEEP_PICTURES)

    @router.post("/videos/{video}/expressions/{expression}/suggestion")
    def suggest(split: str, video: str, expression: str) -> dict:
        """Asks the network when the expression holds; the run's result is kept here."""
        opened = library.split(split)
        record = opened.expression(video, expression)
        if checkpoint is None:
            raise InputError(NO_NETWORK)
        positions = range(opened.video(video).num_frames)
        order = {
            "kind": "relevance",
            "name": video,
            "frames": [str(opened.frame(video, position)[0]) for position in positions],
            "texts": [record.text],
            "checkpoint": checkpoint,
            "device": "auto",
            "threshold": 0.5,
            "always_target": False,
        }
        key = split, video, expression
        job = jobs.add(order, lambda result: suggestions.update({key: result["relevance"]}))
        return {"id": job.id}

    return router


def _listed(split: Split, name: str, annotator: str) -> dict[str, Any]:
    video = split.videos[name]
    expressions = []
    for record in video.expressions:
        states = split.store.states(name, record.id)
        mine = states.get(annotator)
        expressions.append(
            {
                "id": record.id,
                "text": record.text,
                "state": mine.state if mine else None,
                "flagged": bool(mine and (mine.missing or mine.wrong or mine.note)),
                "others": sum(a.state != "open" for n, a in states.items() if n != annotator),
            }
        )
    return {"name": name, "expressions": expressions}


def _facts(split: Split, video: str, expression: str, annotator: str) -> dict[str, Any]:
    """What the page needs to know of an expression."""
    record = split.expression(video, expression)
    visible = visible_spans(record)
    states = split.store.states(video, expression)
    return {
        "text": record.text,
        "num_frames": split.video(video).num_frames,
        "masks": record.masks is not None and bool(record.objects),
        "objects": [
            {"id": obj, "colour": web_colour(n), "visible": visible.get(obj)}
            for n, obj in enumerate(objects_of(record))
        ],
        "annotation": _shown(split.store.annotation(video, expression, annotator)),
        "others": {name: a.state for name, a in states.items() if name != annotator},
    }


def _shown(annotation: Annotation) -> dict[str, Any]:
    names = ("revision", "time", "objects", "state", "missing", "wrong", "note")
    return {name: getattr(annotation, name) for name in names}


def _check(change: Change, record: ExpressionRecord, num_frames: int) -> None:
    objects = objects_of(record)
    for obj in (*change.objects, *change.wrong):
        if obj not in objects:
            raise InputError(f"expression {record.id} has no object {obj}")
    for obj, spans in change.objects.items():
        last = -1
        for start, end in sorted(spans):
            if not last < start <= end < num_frames:
                raise InputError(
                    f"object {obj}: [{start}, {end}] overlaps another interval, or is none of a "
                    f"video of {num_frames} frames"
                )
            last = end

"""The review page on the loopback interface, for one reviewer's browser and nobody else's.

Who has the link gets a cookie for it, once. Host and Origin are checked, so that no page of another site
can read or answer (DNS rebinding, cross-site requests).
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ..disk.folder import write_table
from ..disk.json_text import parse_json
from ..errors import DupmineError, OutputError
from .journal import read_journals
from .labels import kappa
from .review import Review

HOST = "127.0.0.1"
COOKIE = "dupmine_review"
_MOST_BYTES = 65_536
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_FILES = {
    "/review.css": (("page.css", "review.css"), "text/css"),
    "/review.js": (("text.js", "review.js"), "text/javascript"),
}

Next = Callable[[Request], Awaitable[Response]]


def free_socket(port: int = 0) -> socket.socket:
    """Return a socket bound to the loopback interface, on a free port where it is 0.

    Raises:
        OutputError: the port is taken.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise OutputError(f"--port {port}: {error.strerror}; give another, or none for a free one") from None
    return bound


def serve(review: Review, folder: Path, bound: socket.socket, token: str) -> None:
    """Serve the page until the process is stopped; `folder` holds the journals."""
    app = make_app(review, folder, port=bound.getsockname()[1], token=token)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")).run(sockets=[bound])


def make_app(review: Review, folder: Path, *, port: int, token: str) -> Starlette:
    """Return the application; `token` opens it once."""

    async def page(request: Request) -> Response:
        return Response(_read(("review.html",)), media_type="text/html")

    async def asset(request: Request) -> Response:
        names, kind = _FILES[request.url.path]
        return Response(_read(names), media_type=kind)

    def act(do: Callable[[dict[str, Any]], dict[str, Any]]) -> Next:
        async def endpoint(request: Request) -> Response:
            content = await _content(request)
            try:
                return JSONResponse(await run_in_threadpool(do, content))
            except (KeyError, TypeError, ValueError) as error:
                return JSONResponse({"error": f"{error}"}, 409)

        return endpoint

    def answer(content: dict[str, Any]) -> dict[str, Any]:
        return review.answer(
            str(content["number"]),
            [str(value) for value in content["answers"]],
            seconds=float(content.get("seconds", 0)),
            note=str(content.get("note", "")),
        )

    routes = {
        "state": lambda _: review.state(),
        "answer": answer,
        "undo": lambda _: review.undo(),
        "reveal": lambda content: review.reveal(str(content["number"])),
        "session": lambda _: review.new_session(),
        "export": lambda _: export(folder),
    }
    return Starlette(
        routes=[
            Route("/", page),
            *(Route(path, asset) for path in _FILES),
            *(Route(f"/{name}", act(do), methods=["POST"]) for name, do in routes.items()),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_Gate(port, token))],
        exception_handlers={DupmineError: _refuse},
    )


class _Gate:
    """Lets one browser in, by a link that works once."""

    def __init__(self, port: int, token: str) -> None:
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._token: str | None = token
        self._cookie = secrets.token_urlsafe(32)

    async def __call__(self, request: Request, call_next: Next) -> Response:
        host = request.headers.get("host", "")
        if host not in self._hosts:
            response: Response = PlainTextResponse("wrong host", 403)
        elif request.method == "POST" and request.headers.get("origin") != f"http://{host}":
            response = PlainTextResponse("wrong origin", 403)
        elif request.url.path == "/" and self._opens(request.query_params.get("token")):
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict")
        elif not secrets.compare_digest(request.cookies.get(COOKIE, ""), self._cookie):
            response = PlainTextResponse("open the link that the terminal shows; it works once", 403)
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    def _opens(self, token: str | None) -> bool:
        if token is None or self._token is None or not secrets.compare_digest(token, self._token):
            return False
        self._token = None
        return True


async def _content(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise DupmineError("the answer is too long")
    try:
        content = parse_json(body or b"{}")
    except ValueError:
        raise DupmineError("the request is not JSON") from None
    if not isinstance(content, dict):
        raise DupmineError("the request is not a JSON object")
    return content


def export(folder: Path) -> dict[str, Any]:
    """Write `labels.parquet` of all reviewers; return its path, counts, kappa and disagreements."""
    table = read_journals(folder)
    path = folder / "labels.parquet"
    write_table(path, table)
    by_reviewer: dict[str, dict[tuple[str, str], str]] = {}
    by_pair: dict[tuple[str, str], dict[str, str]] = {}
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for row in table.to_pylist():
        key = tuple(sorted((row["left_hash"], row["right_hash"])))
        by_reviewer.setdefault(row["reviewer"], {})[key] = row["label"]
        by_pair.setdefault(key, {})[row["reviewer"]] = row["label"]
        names[key] = (row["left_id"], row["right_id"])
    divided = [
        {"pair": names[key], "labels": labels}
        for key, labels in by_pair.items()
        if len(set(labels.values())) > 1
    ]
    return {
        "path": str(path),
        "labels": len(table),
        "reviewers": {who: len(given) for who, given in by_reviewer.items()},
        "kappa": kappa(list(by_reviewer.values())),
        "disagreements": divided,
    }


async def _refuse(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 409)


def _read(names: tuple[str, ...]) -> str:
    folder = files(f"{__package__}.assets")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)

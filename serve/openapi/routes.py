"""The document and its page. They need no key, and say nothing of the box that answers."""

from __future__ import annotations

import msgspec
from litestar import Router, get
from litestar.types import ASGIApp

from serve.answer import Json
from serve.openapi.document import document
from serve.openapi.page import POLICY, page

__all__ = ["routes"]


def routes() -> Router:
    """GET /openapi.json, GET /docs. Both are made when the first of them is asked for."""

    @get("/openapi.json", sync_to_thread=True)
    def openapi() -> ASGIApp:
        return Json(msgspec.json.encode(document()))

    @get("/docs", sync_to_thread=True)
    def docs() -> ASGIApp:
        return Json(page(), {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY})

    return Router("/", route_handlers=[openapi, docs])

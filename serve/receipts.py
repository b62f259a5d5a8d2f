"""Redeem the promises that responses carried: GET /receipts proves records once they are under a signed head."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.types import ASGIApp

from compliance.journal.writer import Journal
from serve.answer import Json
from serve.problems import RequestError
from serve.service import Service, admission_to

__all__ = ["route"]

MAX_RECORDS = 16
_RECORD = re.compile(r"shard-([0-9]{3})/(0|[1-9][0-9]{0,15})")


def route(service: Service, journal: Journal) -> HTTPRouteHandler:
    """GET /receipts?record=shard-000/17&record=shard-000/18, all of one shard. It holds hashes only, no content."""

    @get("/receipts", before_request=admission_to(service))
    async def receipts(record: Annotated[list[str], Parameter(min_items=1, max_items=MAX_RECORDS)]) -> ASGIApp:
        places = [_place(text) for text in record]
        return Json(await asyncio.to_thread(journal.redeemed, places))

    return receipts


def _place(text: str) -> tuple[int, int]:
    found = _RECORD.fullmatch(text)
    if found is None:
        raise RequestError("request_type", "a record is written shard-000/17")
    return int(found[1]), int(found[2])

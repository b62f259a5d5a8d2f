"""The page on serving names every route, limit and code of the protocols, as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from litestar import Litestar

from policies import payload
from serve.admission import Busy
from serve.body import MAX_BODY
from serve.problems import STATUSES, RequestError, status_of
from serve.protocols import completions, openai, predict
from serve.protocols.oip import inference
from serve.protocols.oip import routes as oip
from serve.protocols.oip.answer import MIN_PACKED
from serve.service import Service
from toolkit.runtime import images, numbers, readers

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text("utf-8")
LIMITS = {
    "bytes of a body, packed or unpacked": MAX_BODY,
    "texts in a call": readers.MAX_TEXTS,
    "characters of a text": readers.MAX_TEXT,
    "characters in a call": payload.MAX_CHARACTERS,
    "images in a call": images.MAX_IMAGES,
    "pixels of an image": images.MAX_PIXELS,
    "tensors of a request, and outputs asked for": inference.MAX_TENSORS,
    "dimensions of a tensor": inference.MAX_DIMENSIONS,
    "numbers of a tensor in JSON": numbers.MAX_WRITTEN,
    "digits of a number in JSON": numbers.MAX_DIGITS,
    "characters of an `id` or a tensor's name": inference.MAX_NAME,
}


def test_every_route_has_its_line() -> None:
    service = cast(Service, None)  # asked for nothing until a request comes
    routes: list[Any] = [
        openai.routes(service, 0),
        *completions.routes(service),
        predict.route(service),
        oip.routes(service),
    ]
    app = Litestar(routes, openapi_config=None)
    served = {
        (method, re.sub(r":\w+}", "}", route.path).rstrip("/"))
        for route in app.routes
        for method in route.methods
        if method != "OPTIONS"
    }
    written = re.findall(r"^\| `(GET|POST) (/v[12]\S*)` \|", PAGE, re.MULTILINE)
    assert sorted(written) == sorted(served)


def test_every_limit_is_that_of_the_code() -> None:
    section = PAGE.partition("### Limits")[2].partition("###")[0]
    written = dict(re.findall(r"^\| (.+) \| ([\d,]+) \|$", section, re.MULTILINE))
    assert {name: int(limit.replace(",", "")) for name, limit in written.items()} == LIMITS
    assert f"{MIN_PACKED:,} bytes" in PAGE


@pytest.mark.parametrize(("code", "status"), re.findall(r"^\| `(\w+)` \| (\d{3}) \|", PAGE, re.MULTILINE))
def test_every_status_is_that_of_the_table(code: str, status: str) -> None:
    family = next(
        family for family in STATUSES if isinstance(family, type) and code in family.hints and "hints" in vars(family)
    )
    fault = Busy(code, "m", 1) if family is Busy else family(code, "m")
    assert status_of(fault) == int(status)


def test_no_code_of_a_request_is_left_out() -> None:
    elsewhere = {"request_header", "request_head", "request_incomplete", "method_unknown"}
    assert {code for code in RequestError.hints if f"| `{code}` |" not in PAGE} <= elsewhere

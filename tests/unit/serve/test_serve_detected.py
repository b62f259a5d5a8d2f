"""What a detector found in a request stands in a header of its answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from serve.protocols.openai import read
from serve.service import _writing
from serve.telemetry import Trace
from tests.unit.toolkit.test_toolkit_detector import TEXT, Place
from toolkit.box import Context


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with closing(made):
        yield made


def test_it_names_the_categories_where_there_are_any(place: Place) -> None:
    model, headers = place.model(), []
    for text in (TEXT, "the ward"):
        trace = Trace(lambda: False)
        asked = read(json.dumps({"model": "golden", "input": text}).encode(), {})
        _writing(asked, trace)(model, model.ask({"texts": [text]}, Context(purpose="search")))
        headers.append(trace.headers().get("X-Detected"))
    assert headers == ["address, person_name", None]

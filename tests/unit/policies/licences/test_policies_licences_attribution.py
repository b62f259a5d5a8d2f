"""One line, printable and bounded, whatever a model calls itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.licences import attribution
from policies.licences.table import TABLE


@pytest.mark.parametrize("licence", TABLE)
def test_it_names_the_model_its_parent_and_where_the_licence_stands(licence: str) -> None:
    url = TABLE[licence].sources["attribution"].url
    assert attribution("small", None, licence) == f"small; licence: {licence}, {url}"
    assert attribution("small", "big", licence) == f"small, made from big; licence: {licence}, {url}"


@given(st.text(), st.none() | st.text(), st.text() | st.sampled_from(sorted(TABLE)))
def test_it_is_one_printable_line(name: str, parent: str | None, licence: str) -> None:
    text = attribution(name, parent, licence)
    assert text.isprintable()
    assert len(text) <= 400
    text.encode()


@pytest.mark.parametrize("name", ["a\r\nX-Injected: yes", "a\x00b", "a\u2028b", "a\u202eb", "\ud800", "x" * 100_000])
def test_a_hostile_name_ends_no_line(name: str) -> None:
    text = attribution(name, name, "MIT")
    assert text.isprintable()
    assert len(text) <= 400

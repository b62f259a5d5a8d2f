"""One line, printable and bounded, whatever a model calls itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.licences import attribution, entries, facts


@pytest.mark.parametrize("licence", entries())
def test_it_names_the_model_its_parent_and_where_the_licence_stands(licence: str) -> None:
    url, shown = entries()[licence].url, "".join(f", {one}" for one in facts(licence).displays)
    assert attribution("small", None, licence) == f"small; licence: {licence}, {url}{shown}"
    assert attribution("small", "big", licence) == f"small, made from big; licence: {licence}, {url}{shown}"


def test_several_licences_are_named_as_far_as_there_is_room() -> None:
    apache, mit = entries()["Apache-2.0"].url, entries()["MIT"].url
    assert attribution("small", None, "Apache-2.0 AND MIT") == f"small; licence: Apache-2.0 AND MIT, {apache}, {mit}"
    every = attribution("small", None, " AND ".join([*entries()][:30]))
    assert len(every) <= 400
    assert every.startswith("small; licence: ")


@given(st.text(), st.none() | st.text(), st.text() | st.sampled_from([*entries()]))
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

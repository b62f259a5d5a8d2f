"""One line, printable and bounded, whatever a model calls itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.facts import Ancestor
from policies.licences import attribution
from policies.licences.table import TABLE


def told(name: str, licence: str, parents: tuple[str, ...] = ()) -> str:
    lineage = [Ancestor(name=one, digest="cd" * 32, licence=licence, relation="parent") for one in parents]
    return attribution(name, licence, lineage)


@pytest.mark.parametrize("licence", TABLE)
def test_it_names_the_model_its_parent_and_where_the_licence_stands(licence: str) -> None:
    url = TABLE[licence].sources["attribution"].url
    assert told("small", licence) == f"small; licence: {licence}, {url}"
    assert told("small", licence, ("big", "bigger")) == (f"small, made from big; licence: {licence}, {url}")


@given(st.text(), st.text() | st.sampled_from(sorted(TABLE)), st.lists(st.text(), max_size=2).map(tuple))
def test_it_is_one_printable_line(name: str, licence: str, parents: tuple[str, ...]) -> None:
    text = told(name, licence, parents)
    assert text.isprintable()
    assert len(text) <= 400
    text.encode()


@pytest.mark.parametrize("name", ["a\r\nX-Injected: yes", "a\x00b", "a\u2028b", "a\u202eb", "\ud800", "x" * 100_000])
def test_a_hostile_name_ends_no_line(name: str) -> None:
    text = told(name, "MIT", (name,))
    assert text.isprintable()
    assert len(text) <= 400

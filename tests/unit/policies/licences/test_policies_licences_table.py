"""Every fact about a licence has a source, and the words that it names stand in the text."""

from __future__ import annotations

import re
from datetime import date

import pytest
from msgspec import structs

from policies.licences import Facts, LicenceError, facts, text
from policies.licences.table import TABLE
from policies.licences.texts import TEXTS

PLAIN = {licence: " ".join(whole.split()) for licence, whole in TEXTS.items()}


def test_every_licence_has_its_text() -> None:
    assert TABLE.keys() == TEXTS.keys()
    assert all(facts(licence).spdx == licence for licence in TABLE)


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
def test_every_fact_has_a_source(entry: Facts) -> None:
    stated = {field.name for field in structs.fields(entry)} - {"spdx", "name", "sources"}
    assert entry.sources.keys() == stated
    for source in entry.sources.values():
        assert source.url.startswith("https://")
        assert re.match(r"(section|first|second) ", source.section)
        assert date.fromisoformat(source.read) >= date(2026, 11, 1)


# a table of its own: what a person found in the texts
EXPECTED = [
    ("Apache-2.0", "commercial", True, "2. Grant of Copyright License."),
    (
        "Apache-2.0",
        "derive",
        "share",
        "prepare Derivative Works of, publicly display, publicly perform, sublicense, and distribute",
    ),
    ("Apache-2.0", "share_alike", False, "may provide additional or different license terms"),
    ("Apache-2.0", "attribution", True, "(c) You must retain, in the Source form"),
    ("Apache-2.0", "notice_file", True, '(d) If the Work includes a "NOTICE" text file'),
    ("MIT", "commercial", True, "to deal in the Software without restriction"),
    ("MIT", "derive", "share", "copy, modify, merge, publish, distribute"),
    ("MIT", "share_alike", False, "sublicense, and/or sell copies"),
    ("MIT", "attribution", True, "this permission notice shall be included in all copies"),
    ("MIT", "notice_file", False, "subject to the following conditions: The above copyright notice"),
    (
        "CC-BY-4.0",
        "commercial",
        True,
        "Licensed Rights in the Licensed Material to: a. reproduce and Share",
    ),
    ("CC-BY-4.0", "derive", "share", "produce, reproduce, and Share Adapted Material"),
    ("CC-BY-4.0", "share_alike", False, "must not prevent recipients of the Adapted Material from complying"),
    ("CC-BY-4.0", "attribution", True, "a. Attribution. 1. If You Share the Licensed Material"),
    ("CC-BY-4.0", "notice_file", False, "in any reasonable manner based on the medium"),
    ("CC-BY-NC-4.0", "commercial", False, "for NonCommercial purposes only"),
    ("CC-BY-NC-4.0", "derive", "share", "produce, reproduce, and Share Adapted Material"),
    ("CC-BY-NC-4.0", "share_alike", False, "must not prevent recipients of the Adapted Material from complying"),
    ("CC-BY-NC-4.0", "attribution", True, "a. Attribution. 1. If You Share the Licensed Material"),
    ("CC-BY-NC-4.0", "notice_file", False, "in any reasonable manner based on the medium"),
]


@pytest.mark.parametrize(("licence", "fact", "value", "words"), EXPECTED)
def test_a_fact_says_what_the_text_says(licence: str, fact: str, value: object, words: str) -> None:
    assert getattr(facts(licence), fact) == value
    assert words in PLAIN[licence]


def test_every_fact_is_expected_here() -> None:
    assert len(EXPECTED) == sum(len(entry.sources) for entry in TABLE.values())


@pytest.mark.parametrize("licence", ["", "apache-2.0", "GPL-3.0-only", "MIT OR Apache-2.0", "../MIT"])
def test_another_licence_is_unknown(licence: str) -> None:
    with pytest.raises(LicenceError) as caught:
        facts(licence)
    assert caught.value.code == "licence_unknown"


def test_the_texts_are_whole() -> None:
    assert text("Apache-2.0").rstrip().endswith("limitations under the License.")
    assert text("MIT").startswith("MIT License\n\nCopyright (c) <year> <copyright holders>\n")
    assert text("CC-BY-4.0").startswith("Attribution 4.0 International\n")
    assert text("CC-BY-4.0").rstrip().endswith("Creative Commons may be contacted at creativecommons.org.")
    assert "NonCommercial" not in text("CC-BY-4.0")
    assert text("CC-BY-NC-4.0").startswith("Attribution-NonCommercial 4.0 International")

"""How values are written for a reader, hostile ones too."""

from __future__ import annotations

from datetime import date

import pytest

from compliance.report import wording


@pytest.mark.parametrize("hidden", ["\0", "\n", "\x1b", "\u202e", "\u200b", "\u2028", "\ue000", "\ud800"])
def test_what_is_not_seen_is_made_visible(hidden: str) -> None:
    assert wording.plain(f"a{hidden}b") == "a\ufffdb"


def test_a_long_text_is_cut_to_the_length() -> None:
    assert wording.plain("x" * 80) == "x" * 80
    assert wording.plain("x" * 81) == "x" * 79 + "…"
    assert wording.plain("Größe 模型 é") == "Größe 模型 é"


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 10, 1), date(2026, 10, 1), "1 October 2026"),
        (date(2026, 10, 1), date(2026, 10, 31), "1\u201331 October 2026"),
        (date(2026, 10, 28), date(2026, 11, 3), "28 October \u2013 3 November 2026"),
        (date(2026, 12, 31), date(2027, 1, 1), "31 December 2026 \u2013 1 January 2027"),
    ],
)
def test_a_period_needs_no_more_words_than_its_days(first: date, last: date, text: str) -> None:
    assert wording.period(first, last) == text


def test_a_moment_is_to_the_second_in_utc() -> None:
    assert wording.moment(1_795_000_000_999_999_999) == "2026-11-18 11:06:40 UTC"
    assert wording.moment(10**40) == f"{10**40} ns, which is no date"


def test_sizes_and_counts() -> None:
    assert [wording.megabytes(size) for size in (99_999, 100_000, 90_868_373)] == ["99,999 bytes", "0.1 MB", "90.9 MB"]
    assert [wording.counted(n, "call") for n in (0, 1, 1234)] == ["0 calls", "1 call", "1,234 calls"]
    assert wording.grouped("6746bb57c0b1") == "6746 bb57 c0b1"


def test_a_step_shows_its_settings_and_has_an_end() -> None:
    assert wording.step({"kind": "int8", "per_channel": True, "bits": 8}) == "int8 (bits 8, per_channel True)"
    assert wording.step({"kind": "export"}) == "export"
    assert len(wording.step({"kind": "x", "deep": [["y"] * 900]})) == 400

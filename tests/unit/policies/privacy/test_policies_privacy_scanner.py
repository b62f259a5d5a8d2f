"""A set of texts that are hard to find data in, and a set of bait that holds none."""

from __future__ import annotations

import time

import pytest

from policies.facts import CATEGORY
from policies.privacy import Detected, categories, scan
from policies.privacy.scanner import FOUND, THRESHOLD

CARDS = [
    "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "4111.1111.1111.1111", "5555555555554444",
    "2223003122003222", "378282246310005", "3782 822463 10005", "30569309025904", "6011111111111117",
    "3530111333300000",
    "6200000000000005", "2201382000000013", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "41\u200b11 1111\u200d1111 1111",
    "\uff14\uff11\uff11\uff11 \uff11\uff11\uff11\uff11\u3000\uff11\uff11\uff11\uff11 \uff11\uff11\uff11\uff11",
    "4111\u00a01111\u00a01111\u00a01111", "4111\u20131111\u20131111\u20131111",
    "\u0664\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661",
    "4\u00ad1\u00ad1\u00ad1 1111 1111 1111",
]  # fmt: skip
EMAILS = [
    "zhang@example.cn", "first.last+tag@sub.example.co.uk", "j\u00f6rg@m\u00fcller.de", "o'brien@example.ie", "a@b.io",
    "x_1@xn--bcher-kva.example", "UPPER@EXAMPLE.COM", "a\u200bb@ex\u00adample.com", "ann\uff20example\uff0ecom",
    "a@b.c.d.e.f.g.h.i.j.k.com", "x" * 64 + "@example.com", "ann@example.com.png",
]  # fmt: skip
PHONES = [
    "+1 (415) 555-2671", "(415) 555-2671", "415-555-2671", "415.555.2671", "1-800-555-0199", "+1.4155552671",
    "+44 20 7946 0958", "020 7946 0958", "07700 900123", "(0161) 496 0000", "01632 960 001",
    "+49 (0)30 1234567", "0049 30 123456", "030 1234567", "030/123456", "0171 1234567", "089-123 456 78",
    "+33 1 23 45 67 89", "01 23 45 67 89", "06.12.34.56.78",
    "+34 612 345 678", "612 34 56 78", "91 123 45 67",
    "+39 06 1234 5678", "340 1234567", "06 1234 5678",
    "+8613812345678", "+86-138-1234-5678", "13812345678", "138 1234 5678", "010-12345678",
    "+91 98765 43210", "98765 43210",
    "+4\u200b9 30 12345\u200b67", "\uff0b\uff14\uff19 30 1234567", "415\u2010555\u20102671",
]  # fmt: skip
IN_WORDS = [
    "phone 4155552671", "call me: 4155552671", "Tel. 612 345 678", "appelle 0612345678", "Handy 01711234567",
    "m\u00f3vil 612345678", "cellulare 3401234567", "\u7535\u8bdd9876543210", "mobile 9876543210",
]  # fmt: skip
# what stands around: nothing, spaces, Han, punctuation, markup
AROUND = ["{}", "a {} b", "\u8bf7\u7528{}\u8054\u7cfb", "({})", '"{}",', "<b>{}</b>", "x={};", "\u2014{}\u2014", "{}."]

BAIT = [
    "", "order 123456789012", "Order #4155552671", "ORD-2024-001234", "invoice 13812345678", "114-1234567-1234567",
    "\u8ba2\u5355\u53f713812345678",
    "2024-01-02 10:11:12", "05.11.2023 14:30", "05-11-2023 1430", "12/11/2023 11/12/2024", "2023/11/05 14:30:00,123",
    "12:30:45.123456", "1763923800", "1763923800000", "1763923800000000000", "20231105143000",
    "1.2.3.4", "192.168.100.200", "255.255.255.255", "10.0.0.0/16", "2001:db8::1234:5678", "v10.234.5678",
    "1.24.0.post1",
    "3f2a9c415555267100ff", "550e8400-e29b-41d4-a716-446655440000", "sha256:" + "1234567890" * 6, "0x1234567890",
    "978-3-16-148410-0", "0-306-40615-2", "ISBN 0306406152", "IMEI 490154203237518", "4006381333931",
    "4111111111111112", "1234567890123456", "9111 1111 1111 1111", "4111 1111 1111 111", "0000 0000 0000 0000",
    "0.4111111111111111", "4111111111111111.5", "a4111111111111111", "4111111111111111b",
    "512 768 1024", "200 300 4000", "65536 65537 65538", "1,234,567,890", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "3.14159265358979", "-0.123456789012", "+3.14159265358979", "48.856614, 2.3522219", "1e-0512345678",
    "00000000012345",
    "x = f(4155552671)", "range(100, 200, 3000)", "SELECT 1234567890", "img_20231105_143000.jpg", "#112233",
    "git@github.com:org/repo.git", "https://user:pass@host.com/x", "deploy@server.example.com:/var/www", "icon@2x.png",
    "pip install foo@1.2.3", "a @ b", "X@w.transpose()", "@decorator", "foo@bar", "@", "a@", "@b.com", "a@b", "a..b@",
    "a@.com",
]  # fmt: skip


def found(text: str) -> list[tuple[str, str]]:
    return [(text[item.start : item.end], item.category) for item in scan(text) if item.confidence >= THRESHOLD]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    ("data", "category"),
    [*((one, "card") for one in CARDS), *((one, "email") for one in EMAILS), *((one, "phone") for one in PHONES)],
)
def test_it_is_found_exactly(around: str, data: str, category: str) -> None:
    assert found(around.format(data)) == [(data, category)]


@pytest.mark.parametrize("text", IN_WORDS)
def test_a_word_before_makes_a_number_a_phone_number(text: str) -> None:
    assert categories([text]) == {"phone"}


@pytest.mark.parametrize("text", BAIT)
def test_bait_is_not_counted(text: str) -> None:
    assert categories([text]) == frozenset()


@pytest.mark.parametrize("text", ["git@github.com:org/repo.git", "icon@2x.png"])
def test_what_is_doubtful_is_told_but_not_counted(text: str) -> None:
    assert [item.category for item in scan(text)] == ["email"]
    assert scan(text)[0].confidence < THRESHOLD


def test_all_are_found_in_order() -> None:
    text = "030 1234567, 4111 1111 1111 1111 12/25; ann@example.com,bob@example.org +49 30 1234567 2024-01-02"
    assert found(text) == [
        ("030 1234567", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("ann@example.com", "email"),
        ("bob@example.org", "email"),
        ("+49 30 1234567", "phone"),
    ]
    assert scan(text)[0] == Detected(start=0, end=11, category="phone", confidence=0.6)


def test_of_two_that_overlap_the_more_certain_one_stays() -> None:
    assert found("030-1234567@example.com") == [("030-1234567@example.com", "email")]


def test_categories_are_of_all_texts() -> None:
    assert categories(iter(["nothing", "a@b.io", "x", "+49 30 1234567"])) == {"email", "phone"}
    assert categories([]) == frozenset()


def test_only_categories_that_are_told_of_are_found() -> None:
    assert {item.category for one in (*CARDS, *EMAILS, *PHONES) for item in scan(one)} <= FOUND
    assert all(map(CATEGORY.fullmatch, FOUND))


HOSTILE = [
    "1", "1 ", "0-", "+1", "(0", "@", "a@", "a.", "a@a.", "4 ", "41111", "0 1", "+", "(", "1.", "12 3456-", "\u200b1",
    "\uff10",
    "a@" + "a." * 20, "4111 1111 1111 111 ", "06 12 34 56 7 ", "138 1234 567", "x" * 63 + "@", "@" + "a" * 62, "://@",
    "00 1",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_linearly_on_hostile_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * size)[:size]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            scan(text)
            best = min(best, time.process_time() - start)
        return best

    # 16 times the text: 256 times the time if it were quadratic; the floor keeps noise out
    assert seconds(16_384) < 16 * 5 * max(seconds(1_024), 0.000_2)


def test_a_clean_text_costs_little() -> None:
    """200 characters in about 3 us; the bound leaves room for a slow and busy machine."""
    text = ("The quick brown fox jumps over the lazy dog and went home to read about compilers. " * 3)[:200]
    start = time.process_time()
    for _ in range(2_000):
        scan(text)
    assert (time.process_time() - start) / 2_000 < 100e-6

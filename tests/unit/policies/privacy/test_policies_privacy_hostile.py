"""What is found in the hostile texts of the benchmark, in which a short cut would first go wrong."""

from __future__ import annotations

import pytest
from benchmarks.privacy.hostile import PIECES, SIZE, texts

from policies.privacy import categories, redact, scan
from policies.privacy.scanner import THRESHOLD

TEXTS = dict(texts())
# in all others there is nothing
HOLD = {
    "phone": [
        *(name for name in PIECES if "phones" in name),
        *("digits in fours", "digits in threes", "digits in twos", "11 digits", "NHS numbers", "groups like cards"),
        *("Aadhaar numbers", "Steuer-IDs", "Han, words and numbers", "everything"),
    ],
    "card": [
        "cards, grouped",
        "cards, bare",
        "cards, one by one",
        "digits in fours",
        "groups like cards",
        "everything",
    ],
    "bank_account": ["IBANs", "IBANs, wrong", "short IBANs, wrong", "everything"],
    "ssn": [
        *("social security numbers", "social security numbers after words", "national insurance numbers", "NIRs"),
        "everything",
    ],
    "national_id": ["groups like cards", "Aadhaar numbers", "resident numbers", "DNIs", "everything"],
    "tax_id": ["Steuer-IDs"],
    "company_id": ["credit codes"],
    "health_id": ["everything"],
    "passport": ["passports", "Chinese passports", "everything"],
    "birth_date": ["dates of birth", "Chinese dates of birth", "everything"],
    "email": ["e-mail addresses", "short e-mail addresses", "everything"],
    "ip_address": ["IPv4", "IPv6", "IPv6, short", "IPv6, whole", "everything"],
    "mac_address": ["MAC addresses", "MAC addresses, dashed", "everything"],
    "location": ["coordinates", "degrees", "everything"],
    "credential": [
        *("passwords", "logins", "keys", "web tokens", "nearly web tokens", "heads of private keys", "everything"),
    ],
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_in_it_is_told(name: str) -> None:
    text = TEXTS[name]
    assert len(text.encode()) in range(SIZE - 3, SIZE + 1)
    told = categories([text])
    assert told == {category for category, names in HOLD.items() if name in names} or name not in PIECES
    assert told == {one.category for one in scan(text) if one.confidence >= THRESHOLD}


@pytest.mark.parametrize("name", ["everything", "digits in fours", "cards, grouped"])
def test_nothing_is_left_of_it(name: str) -> None:
    text = TEXTS[name]
    assert categories([redact(text, scan(text))]) == frozenset()


def test_one_number_among_many_others_is_told() -> None:
    """A category that was found is not looked for again, but what overlaps with it is."""
    phones, number = TEXTS["international phones"], "DE89 3704 0044 0532 0130 00"
    assert categories([phones, number]) == {"phone", "bank_account"}
    assert categories([phones + number + phones]) == {"phone", "bank_account"}
    assert categories([TEXTS["digits in ones"] + " 4111 1111 1111 1111"]) == {"card"}
    assert categories(["x" * 16_000 + " ann@example.com"]) == {"email"}
    # the phone number is a part of the address, also where phone numbers are known
    assert categories(["+49 30 1234567", "030-1234567@example.com"]) == {"phone", "email"}
    assert categories(["030-1234567@example.com"]) == {"email"}

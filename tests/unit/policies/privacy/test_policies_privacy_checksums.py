"""The check digits against python-stdnum, which others wrote."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from stdnum import iban, luhn
from stdnum.cn import uscc
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale

from policies.privacy import checksums

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def drawn(form: str, random: Random) -> str:
    """`9` is a digit, `?` a letter, anything else itself."""
    return "".join(random.choice({"9": "0123456789", "?": LETTERS}.get(one, one)) for one in form)


@pytest.mark.parametrize(
    ("ours", "theirs", "forms"),
    [
        (checksums.luhn, luhn.is_valid, ["9999999999999999", "999999999999999"]),
        (checksums.nhs, nhs.is_valid, ["9999999999"]),
        (checksums.aadhaar, aadhaar.is_valid, ["999999999999"]),
        (checksums.steuer_id, idnr.is_valid, ["99999999999", "12345678919", "98765432199"]),
        (checksums.nir, nir.is_valid, ["1990175999999" + "99", "2850675999999" + "99"]),
        (checksums.dni, dni.is_valid, ["99999999?"]),
        (checksums.dni, nie.is_valid, ["X9999999?", "Y9999999?", "Z9999999?"]),
        (checksums.codice_fiscale, codicefiscale.is_valid, ["RSSMRA85T10A562?", "VRDLGU70A01H501?"]),
        (checksums.uscc, uscc.is_valid, ["911101999999999999", "91310000MA9999999?"]),
        (
            checksums.iban,
            lambda one: iban.is_valid(one, check_country=False),
            ["DE99999999999999999999", "NO99" + "9" * 11],
        ),
    ],
)
def test_they_agree(ours: Callable[[str], bool], theirs: Callable[[str], bool], forms: list[str]) -> None:
    random = Random(17)  # noqa: S311 - the same numbers each time
    numbers = [drawn(form, random) for _ in range(4_000) for form in forms]
    if ours is checksums.uscc:
        numbers = [one for one in numbers if not set(one[-10:]) & set("IOSVZ")]
    assert [one for one in numbers if ours(one) is not theirs(one)] == []
    assert any(map(ours, numbers))


@pytest.mark.parametrize("number", ["11010519491231002X", "110105194912313976"])
def test_a_resident_id_holds_and_no_changed_digit_does(number: str) -> None:
    assert checksums.resident_id(number)
    for place in range(17):
        changed = str((int(number[place]) + 1) % 10)
        assert not checksums.resident_id(number[:place] + changed + number[place + 1 :])

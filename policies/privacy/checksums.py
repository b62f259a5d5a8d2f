"""The check digits of identifiers, each over the bare number: letters and digits alone, in capitals.

A number that passes proves little by itself, since one in ten to one in a hundred do by chance: form, length and the
words around it decide with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import mul
from string import ascii_uppercase

__all__ = [
    "IBAN_LENGTHS",
    "aadhaar",
    "codice_fiscale",
    "dni",
    "iban",
    "luhn",
    "nhs",
    "nir",
    "resident_id",
    "steuer_id",
    "uscc",
]


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B. The digits may stand in groups."""
    values = number.encode().translate(_VALUES, b" .-")
    return (sum(values[-1::-2]) + sum(values[-2::-2].translate(_DOUBLED))) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: a length of its country, and 1 modulo 97 (ISO 7064) with the first four characters last."""
    if len(number) != IBAN_LENGTHS.get(number[:2]):
        return False
    return int((number[4:] + number[:4]).translate(_NUMBERED)) % 97 == 1


def nhs(digits: str) -> bool:
    """The NHS number of England, Wales and the Isle of Man: 10 digits, modulo 11 (NHS Data Dictionary)."""
    # the check digit 10 is not given out, and no digit makes up for it
    total: int = sum(map(mul, digits.encode().translate(_VALUES), range(10, 0, -1)))
    return total % 11 == 0


def aadhaar(digits: str) -> bool:
    """The Aadhaar number of India: 12 digits, the first 2 to 9, by Verhoeff's scheme; palindromes are not issued."""
    if digits[0] in "01" or digits == digits[::-1]:
        return False
    check = 0
    for permuted, value in zip(_PERMUTED + _PERMUTED[:4], digits[::-1].encode().translate(_VALUES), strict=True):
        check = _DIHEDRAL[check][permuted[value]]
    return check == 0


def steuer_id(digits: str) -> bool:
    """The tax number of Germany: 11 digits, modulo 11, 10 (ISO 7064); of the first ten one digit comes two or three
    times, none of the others more than once (Abgabenordnung, section 139b; identification by the Bundeszentralamt)."""
    product = 10
    for value in digits[:10].encode().translate(_VALUES):
        product = ((value + product) % 10 or 10) * 2 % 11
    if (11 - product) % 10 != int(digits[10]) or digits[0] == "0":
        return False
    counts = sorted(map(digits[:10].count, set(digits[:10])))
    return counts[-1] in (2, 3) and counts[-2] == 1


def nir(number: str) -> bool:
    """The number of social security of France: 13 characters and 97 less their remainder; 2A and 2B are Corsica."""
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and int(number[13:]) == 97 - int(body) % 97


def dni(number: str) -> bool:
    """DNI and NIE of Spain: 8 characters and a letter, modulo 23; X, Y and Z stand for 0, 1 and 2."""
    body = number[:-1].translate(_FOREIGNERS)
    return body.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23] == number[-1]


def codice_fiscale(number: str) -> bool:
    """Italy: 15 characters and a letter, modulo 26 (D.M. 12 March 1974); digits may stand as letters for homonyms."""
    characters = number[:15].encode()
    total = sum(characters[::2].translate(_ODD)) + sum(characters[1::2].translate(_EVEN))
    return chr(65 + total % 26) == number[15]


def resident_id(number: str) -> bool:
    """The resident identity number of China: 17 digits and a digit or X, modulo 11-2 (GB 11643-1999, ISO 7064)."""
    return "10X98765432"[sum(map(mul, number[:17].encode().translate(_VALUES), _POWERS_OF_2)) % 11] == number[17]


def uscc(number: str) -> bool:
    """The unified social credit code of China: 17 characters and one, modulo 31 (GB 32100-2015)."""
    return _USCC[-sum(map(mul, number[:17].encode().translate(_USCC_VALUES), _POWERS_OF_3)) % 31] == number[17]


def _values(characters: str, values: Iterable[int]) -> bytes:
    """A table for `bytes.translate` from characters to their values."""
    table = bytearray(256)
    for character, value in zip(characters, values, strict=True):
        table[ord(character)] = value
    return bytes(table)


_DIGITS = "0123456789"
_VALUES = _values(_DIGITS, range(10))
# by value
_DOUBLED = bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]) + bytes(246)
_NUMBERED = {ord(character): str(int(character, 36)) for character in _DIGITS + ascii_uppercase}
_FOREIGNERS = str.maketrans("XYZ", "012")
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES = _values(_USCC, range(31))
_POWERS_OF_2 = [pow(2, 17 - place, 11) for place in range(17)]
_POWERS_OF_3 = [pow(3, place, 31) for place in range(17)]
_ODDS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD = _values(_DIGITS + ascii_uppercase, (*_ODDS[:10], *_ODDS))
_EVEN = _values(_DIGITS + ascii_uppercase, (*range(10), *range(26)))
_DIHEDRAL = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_PERMUTED = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 5, 7, 6, 2, 8, 3, 0, 9, 4),
    (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7),
    (9, 4, 5, 3, 1, 2, 6, 8, 7, 0),
    (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5),
    (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)
# the registry of SWIFT, as of 2025: country and length
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

"""Texts of 16 KB that cost a scanner most: nothing but numbers, addresses, words before numbers, odd characters.

Each repeats a piece in which every `9` between bars stands for a random digit, and every `h` for a hexadecimal one. KB
are bytes of UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from random import Random

__all__ = ["PIECES", "SIZE", "texts"]

SIZE = 16_384
PIECES = {
    "international phones": "+49 30 |999999|, ",
    "short international phones": "+49 |999999|,",
    "American phones": "415-555-|9999| ",
    "national phones": "030 |9999999| ",
    "bracketed phones": "(030) |9999999| ",
    "French phones": "06 |99| |99| |99| |99|; ",
    "Chinese phones": "请138|99999999|用",
    "words and bare phones": "tel |9999999| ",
    "words and spaced phones": "phone |999| |9999| ",
    "cards, grouped": "4111 1111 1111 1111 ",
    "cards, bare": "4111111111111111 ",
    "cards, one by one": "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1, ",
    "groups like cards": "4|999| |9999| |9999| |9999|, ",
    "digits in fours": "|9999| ",
    "digits in threes": "|999| ",
    "digits in twos": "|99| ",
    "digits in ones": "|9| ",
    "digits far apart": "|9|  ",
    "digits in brackets": "(|9|",
    "digits and dashes": "|9|-",
    "digits without separators": "|9|",
    "7 digits": "|9999999|,",
    "9 digits": "|999999999|,",
    "10 digits": "|9999999999|,",
    "11 digits": "|99999999999|,",
    "12 digits": "|999999999999|,",
    "zeros": "0 1",
    "zeros and dashes": "0-",
    "IBANs": "DE89 3704 0044 0532 0130 00 ",
    "IBANs, wrong": "DE|99999999999999999999| ",
    "short IBANs, wrong": "NO|9999999999999| ",
    "letters and digits": "aa|99| ",
    "social security numbers": "536-|99|-|9999|, ",
    "social security numbers after words": "ssn |999999999| ",
    "NHS numbers": "|999| |999| |9999|, ",
    "Aadhaar numbers": "|9999| |9999| |9999|, ",
    "Steuer-IDs": "|99| |999| |999| |999|, ",
    "NIRs": "1 84 12 75 |999| |999| |99| ",
    "resident numbers": "11010519491231|9999|, ",
    "credit codes": "91110102MA|9999999|X, ",
    "DNIs": "|99999999|A, ",
    "national insurance numbers": "AB|999999|C ",
    "passports": "passport |999999999| ",
    "Chinese passports": "护照|999999| ",
    "the word passport": "passport ",
    "dates of birth": "born 1.1.|99| ",
    "Chinese dates of birth": "生日1980年1月1日 ",
    "the word born": "born ",
    "nearly dates": "born 12.12.|9| ",
    "dates": "12.03.19|99| ",
    "times": "|99|:|99|:|99| ",
    "e-mail addresses": "ann@example.com ",
    "short e-mail addresses": "a@b.io ",
    "ats": "@",
    "nearly e-mail addresses": "a@a.",
    "IPv4": "93.1|99|.1|99|.1|99| ",
    "IPv4, small": "1.1.1.1 ",
    "IPv4, private": "10.|99|.|99|.|99| ",
    "digits and dots": "|9|.",
    "IPv6": "2a00:1450:4001:81b::|hhhh| ",
    "IPv6, short": "2a00::1 ",
    "IPv6, whole": "2|hhh|:|hhhh|:|hhhh|:|hhhh|:|hhhh|:|hhhh|:|hhhh|:|hhhh| ",
    "names in code": "a::b ",
    "colons": "::",
    "MAC addresses": "3c:22:fb:|hh|:|hh|:|hh| ",
    "MAC addresses, dashed": "3c-22-fb-|hh|-|hh|-|hh| ",
    "hexadecimal pairs": "|hh|:",
    "pairs of decimals": "48.|99999|, 2.|99999| ",
    "coordinates": "48.|9999| N 2.|9999| E ",
    "degrees": "48°51'24\"N 2°21'03\"E ",
    "passwords": "password=a1b2c3d4 ",
    "no passwords": "password=",
    "schemes": "http://",
    "logins": "http://a:b1c2d3@c.io ",
    "nearly logins": "http://a:",
    "keys": "sk-|99999999999999999999| ",
    "beginnings of keys": "AKIA ASIA AIza ya29. LTAI AKID ghp_ github_pat_ glpat- xox k_live_ sk- hf_ npm_ SG. eyJ ",
    "web tokens": "eyJaaaaaaaa.eyJaa. ",
    "nearly web tokens": "eyJaaaaaaaa.",
    "heads of private keys": "-----BEGIN PRIVATE KEY-----",
    "full-width digits": "\uff11",
    "full-width phones": "\uff0b\uff14\uff19\u3000\uff13\uff10\u3000\uff11\uff12\uff13\uff14\uff15\uff16\uff0c",
    "unseen characters": "\u200b",
    "phones with unseen characters": "+49\u200b 30 |99|\u200b|9999|, ",
    "Arabic digits": "\u0661",
    "circled numbers": "\u2460",
    "bracketed numbers": "\u247d",
    "ligatures": "\ufb01",
    "the longest ligature": "\ufdfa",
    "combining accents": "e\u0301",
    "Han": "请用中文写",
    "Han and digits": "请用|999|中",
    "Han, words and numbers": "订单|999999999|号码",
    "escaped phones": "\\n+49 30 |999999|",
    "JSON": '{"id": |99999999|, "at": "2024-01-02T10:11:12Z", "v": |9|.|999999|}, ',
    "order numbers": "order |9999999999| ",
    "number signs": "# ",
    "words": "card phone nhs iban ",
    "everything": (
        "+49 30 |999999|, 4111 1111 1111 1111, ann@example.com; DE89 3704 0044 0532 0130 00 536-|99|-|9999| "
        "born 12.03.1980 passport 533380006 https://a:b1c2d3@x.io password=a1b2c3d4e5 110105194912313976, "
        "203.0.114.77 3c:22:fb:9a:10:4e 48.85841 N 2.29452 E NHS 4310776442 "
    ),
}


def texts() -> Iterator[tuple[str, str]]:
    """Each kind by its name, the same each time."""
    for name, piece in PIECES.items():
        yield name, _cut(_repeated(piece, Random(name)))  # noqa: S311 - the same each time
    random = Random(5)  # noqa: S311 - the same each time
    yield "printable characters", _cut(chr(random.randrange(32, 127)) for _ in range(SIZE))
    yield "digits and signs", _cut(random.choice("0123456789 -.()+@ab/:,=X") for _ in range(SIZE))
    yield "any characters", _cut(chr(random.randrange(0x20, 0xD7FF)) for _ in range(SIZE))


def _repeated(piece: str, random: Random) -> Iterator[str]:
    def drawn(match: re.Match[str]) -> str:
        return "".join(random.choice("0123456789abcdef"[: 10 if one == "9" else 16]) for one in match[1])

    for _ in range(SIZE):
        yield re.sub(r"\|([9h]+)\|", drawn, piece)


def _cut(parts: Iterable[str]) -> str:
    """As many of the parts as 16 KB hold."""
    size, taken = 0, []
    for part in parts:
        size += len(part.encode())
        taken.append(part)
        if size >= SIZE:
            break
    return "".join(taken).encode()[:SIZE].decode(errors="ignore")

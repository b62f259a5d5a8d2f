"""Identifiers of eight countries, addresses of machines, places, births and credentials; and what only looks like them.

The numbers were drawn at random and have right check digits, or are examples of their issuers.
"""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from policies.privacy import Detected, categories, redact, scan
from policies.privacy.scanner import THRESHOLD

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.4Adcj3UFYzPUVaVF43FmMab6RlaQD8A9V8wFzzht"
FOUND = [
    ("bank_account", "DE89 3704 0044 0532 0130 00"), ("bank_account", "DE89370400440532013000"),
    ("bank_account", "GB29 NWBK 6016 1331 9268 19"), ("bank_account", "BE68 5390 0754 7034"),
    ("bank_account", "fr1420041010050500013M02606"), ("bank_account", "ES91-2100-0418-4502-0005-1332"),
    ("ssn", "536-22-1234"), ("ssn", "536 22 1234"), ("ssn", "240077502927820"), ("ssn", "1 84 12 2A 329 210 80"),
    ("national_id", "110105194912313976"), ("national_id", "11010519491231002X"),
    ("national_id", "110105 19491231 002X"), ("national_id", "33928568A"), ("national_id", "16879208-Z"),
    ("national_id", "X2851674L"), ("national_id", "X-2851674-L"), ("national_id", "RSSMRA85T10A562S"),
    ("national_id", "3264 3860 5540"), ("tax_id", "45 803 371 295"), ("company_id", "91110102MA98705254"),
    ("company_id", "913100005297893179"),
    ("ip_address", "203.0.114.77"), ("ip_address", "93.184.216.34"), ("ip_address", "2a00:1450:4001:81b::200e"),
    ("ip_address", "2a00:1450:4001:081b:0000:0000:0000:200e"), ("mac_address", "3c:22:fb:9a:10:4e"),
    ("mac_address", "3C-22-FB-9A-10-4E"), ("location", "48.8584\u00b0 N, 2.2945\u00b0 E"),
    ("location", "48\u00b051'24\"N 2\u00b021'03\"E"), ("location", "48.85841 N 2.29452 E"),
    ("location", "48.85841, 2.29452 E"), ("ip_address", "2a00:1450:4001:81b::"),
    ("credential", "AKIAQYLPMN5HHHFPZAM2"), ("credential", "ghp_" + "a1B2" * 9), ("credential", "glpat-" + "x9Yz" * 5),
    ("credential", "xoxb-123456789012-abcdefABCDEF"), ("credential", "sk_live_" + "4eC39HqL" * 3),
    ("credential", "sk-proj-" + "Ab3" * 10), ("credential", "AIza" + "Sy0" * 11 + "ab"), ("credential", JWT),
    ("credential", KEY), ("credential", "hf_" + "aBcD" * 8),
]  # fmt: skip
IN_WORDS = [
    ("ssn", "SSN: {}", "536221234"), ("ssn", "social security number {}", "536 22 1234"),
    ("health_id", "NHS number {}", "431 077 6442"), ("health_id", "NHS no. {}", "4310776442"),
    ("health_id", "patient {}", "431-077-6442"), ("tax_id", "Steuer-ID {}", "45803371295"),
    ("national_id", "Aadhaar {}", "326438605540"), ("national_id", "\u0906\u0927\u093e\u0930 {}", "326438605540"),
    ("passport", "passport no. {}", "533380006"), ("passport", "Reisepass: {}", "C01X00T47"),
    ("passport", "passeport n\u00b0 {}", "17FV12345"), ("passport", "\u62a4\u7167\u53f7\uff1a{}", "E12345678"),
    ("passport", "pasaporte {}", "AAB123456"), ("passport", "passaporto {}", "YA1234567"),
    ("passport", "Indian passport {}", "K1234567"),
    ("birth_date", "born on {}", "12 March 1980"), ("birth_date", "DOB: {}", "03/12/1980"),
    ("birth_date", "date of birth {}", "1980-03-12"), ("birth_date", "geboren am {}", "12.03.1980"),
    ("birth_date", "geb. {}", "12. M\u00e4rz 1980"), ("birth_date", "n\u00e9e le {}", "12 mars 1980"),
    ("birth_date", "nacido el {}", "12 de marzo de 1980"), ("birth_date", "nata il {}", "12/03/1980"),
    ("birth_date", "\u751f\u65e5\uff1a{}", "1980年3月12日"), ("birth_date", "birthday: {}", "March 12, 1980"),
    ("ip_address", "client {}", "10.1.2.3"), ("ip_address", "IP: {}", "1.2.3.4"),
    ("location", "GPS {}", "48.85841, 2.29452"), ("location", "\u5750\u6807 {}", "39.90420, 116.40740"),
    ("credential", "postgres://app:{}@db.internal/x", "s3cr3t-horse"),
    ("credential", "password = {}", "hunter2hunter2"), ("credential", '"api_key": "{}"', "9f8a7b6c5d4e3f2a"),
]  # fmt: skip
BAIT = [
    "version 10.20.30.40", "v203.0.114.77", "pkg==93.184.216.34", "127.0.0.1", "192.168.1.0/24", "1.2.3.4",
    "255.255.255.0", "::", "a::b", "x[::2]", "x[1::-1]", "abc::def", "1:2:3", "0:0:0:0:0:0:0:1", "2001:db8::1",
    "std::vector", "::1", "fe80::1", "12:30:45", "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff", "de:ad:be:ef:00:11:22:33", "0.12345, 0.67890", "[0.1234, 1.2345]", "1949-12-31", "12.03.1980",
    "released on 12 March 1980", "DE89370400440532013001", "DE12345", "12345678A", "X1234567A", "000-12-3456",
    "666-12-3456", "912-12-3456", "536-00-1234", "536221234", "4310776442", "431 077 6442", "326438605540",
    "110105194913313976", "45803371296", "order 45 803 371 295", "AKIA", "sk-learn", "sk-short", "ghp_short",
    "eyJ.eyJ.x", "https://user:password@host/x", "https://u:$PASS@host/x", "https://host:8080/a@b", "password: string",
    "password = get_password()", "api_key=os.environ['KEY']", "secret: ********", "-----BEGIN CERTIFICATE-----",
    "passport control is on the left", "passport office opens in 2024", "the RSSMRA85T10A562T of it",
    "3f2a9c41-5552-4671-80ff-9c415552671f", "commit 3f2a9c415552671ff", "20231105T143000Z", "AB-1234-5678-90",
]  # fmt: skip


def found(text: str) -> list[tuple[str, str]]:
    return [(one.category, text[one.start : one.end]) for one in scan(text) if one.confidence >= THRESHOLD]


@pytest.mark.parametrize("around", ["{}", "see {} there", "\u8bf7\u770b{}\u3002", "({})", '"{}",', "x={};"])
@pytest.mark.parametrize(("category", "data"), FOUND)
def test_it_is_found_exactly(around: str, category: str, data: str) -> None:
    assert found(around.format(data)) == [(category, data)]


@pytest.mark.parametrize(("category", "text", "data"), IN_WORDS)
def test_a_word_before_says_what_it_is(category: str, text: str, data: str) -> None:
    assert found(text.replace("{}", data)) == [(category, data)]


@pytest.mark.parametrize("text", BAIT)
def test_bait_is_not_counted(text: str) -> None:
    assert categories([text]) == frozenset()


@pytest.mark.parametrize(
    ("text", "category", "data"),
    [
        (
            "\uff24\uff25\uff18\uff19 3704 0044 0532 0130 00",
            "bank_account",
            "\uff24\uff25\uff18\uff19 3704 0044 0532 0130 00",
        ),
        ("536\u201022\u20101234", "ssn", "536\u201022\u20101234"),
        ("\u2460\u2460\u24ea105194912313976", "national_id", "\u2460\u2460\u24ea105194912313976"),
        ("1\u200b10105\u200b194912313976", "national_id", "1\u200b10105\u200b194912313976"),
        ("\U0001d7d3\U0001d7d1\U0001d7d4-22-1234", "ssn", "\U0001d7d3\U0001d7d1\U0001d7d4-22-1234"),
        ("\u0130\u0130\u0130 born 1980-03-12", "birth_date", "1980-03-12"),
        ("\u0130\u0130\u0130 passport 533380006", "passport", "533380006"),
        ("\ufb01rst 203.0.114.77", "ip_address", "203.0.114.77"),
    ],
)
def test_other_characters_do_not_hide_it(text: str, category: str, data: str) -> None:
    assert found(text) == [(category, data)]


def test_addresses_of_machines_are_those_of_the_library() -> None:
    random = Random(3)  # noqa: S311 - the same each time
    starts = [
        "10",
        "100.64",
        "127",
        "169.254",
        "172.16",
        "172.32",
        "192.168",
        "198.18",
        "198.51.100",
        "203.0.113",
        "224",
    ]
    for start in ["", *starts] * 40:
        rest = [str(random.randrange(256)) for _ in range(3 - start.count(".") if start else 4)]
        address = ip_address(".".join([start, *rest] if start else rest))
        likely = address.is_global and not address.is_multicast and max(address.packed) > 31
        assert bool(categories([f"see {address} there"])) == likely, address
        anybodys = not (address.is_multicast or address.is_loopback or address.is_unspecified)
        assert bool(categories([f"client {address}"])) == anybodys, address
    for _ in range(300):
        written = "".join(random.choice("0123456789abcdef::::") for _ in range(random.randrange(4, 30)))
        for one in scan(written):
            assert one.category != "ip_address" or ip_address(written[one.start : one.end]).version == 6


@pytest.mark.parametrize(
    "text", ["DE89370400440532013\u4e2d\u6587\u4e2d", "DE89 3704 \u0663", "DE89\u4e2d\u6587", "NO93"]
)
def test_letters_of_other_scripts_end_an_iban(text: str) -> None:
    assert categories([text]) == frozenset()


def test_a_finding_is_taken_out() -> None:
    text = "Call +49 30 1234567 or write to ann@example.com."
    assert redact(text, scan(text)) == "Call \u2588\u2588\u2588 or write to \u2588\u2588\u2588."
    assert redact(text, []) == text
    assert redact(text, [one for one in scan(text) if one.category == "phone"]).count("\u2588\u2588\u2588") == 2


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 2), (3, 2), (0, 99)])
def test_a_finding_outside_the_text_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="a finding at"):
        redact("ann@example.com", [Detected(start=start, end=end, category="email", confidence=1)])

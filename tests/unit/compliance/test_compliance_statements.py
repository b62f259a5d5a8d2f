"""What notes say: one spelling each, as docs/formats.md has them, and what a verifier asks of them."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import date

import pytest

from compliance.verify.merkle import root_of
from compliance.verify.statements import (
    Certificate,
    Genesis,
    Head,
    JointHead,
    Promise,
    Revocation,
    day_of,
    head_parsed,
    key_bytes,
    key_text,
    record_parsed,
)

ID = "0123456789abcdef" * 2
KEY = bytes(range(32))
KEY_TEXT = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

GENESIS = f"sealpress.journal/{ID}\nroot {KEY_TEXT}\nmade 2026-11-23T21:04:05+00:00\n"
CERTIFICATE = f"sealpress.journal/{ID}/certificate\nkey {KEY_TEXT}\nday 2026-11-23\nmade 2026-11-20\n"
REVOCATION = f"sealpress.journal/{ID}/revocation\nkey {KEY_TEXT}\nsince 1\n"
HEAD = (
    f"sealpress.journal/{ID}/shard-007\n9\n{ROOT}\nat 5\nbytes 2000\nallowed 3\nrefused 2\nclosed 1\ndestroyed 0\n"
    "rule 1 base.licence\nrule 1 base.purpose\nusage 12 clinic/tokens\n"
)
SHARDS = [f"shard-000 4 {ROOT}", f"shard-001 5 {ROOT}"]
# the root over the lines is made by the tree that has tests of its own
JOINT = "\n".join(
    (
        f"sealpress.journal/{ID}",
        "9",
        base64.b64encode(root_of(line.encode() for line in SHARDS)).decode(),
        "at 5",
        *SHARDS,
        "",
    )
)
PROMISE = f"sealpress.journal/{ID}/promise\nat 5\nleaf shard-000/17 {ROOT}\nleaf shard-001/0 {ROOT}\n"
STATED = Head(ID, 7, 9, KEY, 5, 2000, 3, 2, 1, 0, {"base.purpose": 1, "base.licence": 1}, {"clinic/tokens": 12})
EVERY = [
    (Genesis, GENESIS, Genesis(ID, KEY, "2026-11-23T21:04:05+00:00")),
    (Certificate, CERTIFICATE, Certificate(ID, KEY, date(2026, 11, 23), date(2026, 11, 20))),
    (Revocation, REVOCATION, Revocation(ID, KEY, 1)),
    (Head, HEAD, STATED),
    (JointHead, JOINT, JointHead(ID, 5, ((4, KEY), (5, KEY)))),
    (Promise, PROMISE, Promise(ID, 5, (((0, 17), KEY), ((1, 0), KEY)))),
]
_Statement = type[Genesis] | type[Certificate] | type[Revocation] | type[Head] | type[JointHead] | type[Promise]


@pytest.mark.parametrize(("form", "text", "value"), EVERY, ids=[form.__name__ for form, _, _ in EVERY])
def test_a_statement_is_written_as_described_and_reads_back(form: _Statement, text: str, value: object) -> None:
    assert form.parsed(text) == value
    assert form.parsed(text).text() == text


@pytest.mark.parametrize(("form", "text", "_"), EVERY, ids=[form.__name__ for form, _, _ in EVERY])
def test_no_line_may_be_left_out_doubled_or_added(form: _Statement, text: str, _: object) -> None:
    lines = text.splitlines(keepends=True)
    named = ("rule", "usage", "leaf", "shard-")  # of these there may be fewer
    for number, line in enumerate(lines):
        without = "".join(lines[:number] + lines[number + 1 :])
        if not line.startswith(named) or form is JointHead:
            refused(form, without)
        if not line.startswith("leaf"):
            refused(form, "".join([*lines[: number + 1], *lines[number:]]))
        refused(form, text.replace(line, f"{line.removesuffix(chr(10))} \n", 1))
        refused(form, text.replace(line, f" {line}", 1))
    for other in ("", "\n", text + "\n", text[:-1], text + "more 1 x\n", text.replace("\n", "\r\n"), text.upper()):
        refused(form, other)


def refused(form: _Statement, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever step found it
        form.parsed(text)


@pytest.mark.parametrize("number", ["", "-5", "+5", "05", "5.0", "5_0", "5e0", " 5", "\u0665", "\uff15", "9" * 5000])
@pytest.mark.parametrize("line", ["\n9\n", "at 5", "bytes 2000", "allowed 3", "destroyed 0", "rule 1 ", "usage 12 "])
def test_a_number_has_one_spelling(line: str, number: str) -> None:
    digits = "".join(filter(str.isdigit, line))
    refused(Head, HEAD.replace(line, line.replace(digits, number), 1))


def test_numbers_end_where_the_page_says() -> None:
    assert Head.parsed(HEAD.replace("at 5", f"at {2**63 - 1}")).at == 2**63 - 1
    assert Head.parsed(HEAD.replace("allowed 3", f"allowed {2**53 - 1}")).allowed == 2**53 - 1
    refused(Head, HEAD.replace("at 5", f"at {2**63}"))
    refused(Head, HEAD.replace("allowed 3", f"allowed {2**53}"))


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        (Genesis, ID, ID.upper()),
        (Genesis, ID, ID[1:]),
        (Genesis, "made 2026", "made 26"),
        (Genesis, "+00:00", "Z"),
        (Certificate, "day 2026-11-23", "day 20261123"),
        (Certificate, "day 2026-11-23", "day 2026-W48-1"),
        (Certificate, "day 2026-11-23", "day 2026-02-29"),
        (Certificate, KEY_TEXT, KEY_TEXT.removesuffix("=")),
        (Certificate, KEY_TEXT, KEY_TEXT.replace("h8=", "h9=")),
        (Certificate, "/certificate", "/certificate/certificate"),
        (Head, "shard-007", "shard-7"),
        (Head, "shard-007", "shard-1000"),
        (Head, "shard-007", "shard-\u0660\u0660\u0667"),
        (Head, ROOT, ROOT[:-2] + "9="),
        (Head, ROOT, "AAEC"),
        (Head, "rule 1 base.licence", "rule 1 base.zebra"),
        (Head, "base.licence", "base.purpose"),
        (Head, "base.licence", "base licence"),
        (Head, "base.licence", "base.licen\u00e7e"),
        (Head, "clinic/tokens", "tokens"),
        (Head, "clinic/tokens", "/tokens"),
        (Head, "usage 12", "spent 12"),
        (JointHead, "\n9\n", "\n10\n"),
        (JointHead, "shard-001", "shard-002"),
        (JointHead, "shard-000 4", "shard-000 3"),
        (Promise, "shard-001/0", "shard-001/00"),
        (Promise, "shard-001/0", "shard-001"),
        (Promise, "shard-001/0", "shard-001/-0"),
    ],
)
def test_another_spelling_is_refused(form: _Statement, old: str, new: str) -> None:
    text = next(text for each, text, _ in EVERY if each is form)
    assert old in text
    refused(form, text.replace(old, new, 1))


def test_there_are_no_more_than_a_thousand_shards() -> None:
    most = JointHead(ID, 5, ((0, KEY),) * 1000)
    assert JointHead.parsed(most.text()) == most
    refused(JointHead, JointHead(ID, 5, ((0, KEY),) * 1001).text())


def test_either_head_is_told_by_its_first_line() -> None:
    assert head_parsed(HEAD).by_shard() == {7: (9, KEY)}
    assert head_parsed(JOINT).by_shard() == {0: (4, KEY), 1: (5, KEY)}
    for text in (GENESIS, CERTIFICATE, PROMISE, ""):
        with pytest.raises(ValueError):  # noqa: PT011 - of whatever step found it
            head_parsed(text)


def test_a_certificate_reaches_thirty_one_days_ahead() -> None:
    found = Certificate.parsed(CERTIFICATE)
    for made, good in ((23, True), (24, False)):
        assert replace(found, made=date(2026, 11, made)).in_bounds is good
    for day, good in ((21, True), (22, False)):
        assert replace(found, day=date(2026, 12, day)).in_bounds is good


def test_counters_grow_or_stay() -> None:
    assert STATED.counters_grow_to(STATED)
    assert STATED.counters_grow_to(replace(STATED, refused=3, rules={"base.purpose": 1, "base.licence": 2, "a": 1}))
    for later in (replace(STATED, size_bytes=0), replace(STATED, allowed=0), replace(STATED, closed=0)):
        assert not STATED.counters_grow_to(later)
    assert not replace(STATED, destroyed=1).counters_grow_to(STATED)
    assert not STATED.counters_grow_to(replace(STATED, rules={"base.purpose": 2}))
    assert not STATED.counters_grow_to(replace(STATED, usage={"clinic/tokens": 11}))
    assert not replace(STATED, rules={"a": 0}).counters_grow_to(replace(STATED, rules={}))


def test_a_joint_head_grows_in_time_shards_and_sizes() -> None:
    joint = JointHead.parsed(JOINT)
    assert joint.total == 9
    assert joint.grows_to(replace(joint, at=6, shards=((4, KEY), (6, KEY), (0, KEY))))
    for later in (
        replace(joint, at=4),
        replace(joint, shards=((4, KEY),)),
        replace(joint, shards=((4, KEY), (4, KEY))),
    ):
        assert not joint.grows_to(later)


def test_days_records_and_keys() -> None:
    assert day_of(1_795_435_215 * 10**9) == date(2026, 11, 23)
    assert [day_of(at) for at in (0, 86_400 * 10**9 - 1, 86_400 * 10**9)] == [
        date(1970, 1, 1),
        date(1970, 1, 1),
        date(1970, 1, 2),
    ]
    with pytest.raises(ValueError, match="no day"):
        day_of(2**90)
    assert record_parsed("shard-003/17") == (3, 17)
    for name in ("", "shard-003", "shard-003/", "shard-3/17", "shard-003/017", "shard-1000/0", "shard-003/1/2"):
        with pytest.raises(ValueError):  # noqa: PT011 - of whatever step found it
            record_parsed(name)
    assert key_text(KEY) == KEY_TEXT
    assert key_bytes(KEY_TEXT) == KEY

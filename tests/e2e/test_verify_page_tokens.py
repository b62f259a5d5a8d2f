"""The page and the verifier in the package say the same of every token of time, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compliance.verify.leaf import Broken
from compliance.verify.statements import key_text
from compliance.verify.timestamp import Kept
from tests.browser import Browser, ask_evidence, press, refusals
from tests.periods import zipped
from tests.stamps import AUTHORITY, added, kept
from tests.vectors.attacks_on_timestamps import attacks, stamps_case


def test_both_verifiers_say_the_same_of_tokens_of_time(browser: Browser, tmp_path: Path) -> None:
    """Each of these is refused by the other verifier with this very reason (test_timestamp_mutations.py)."""
    root, every = key_text(stamps_case().period.root), attacks()
    asked = [
        {"evidence": zipped(tmp_path / f"{number}.zip", one.parts), "root": root, "authorities": one.roots}
        for number, one in enumerate(every)
    ]
    answers = ask_evidence(browser, *asked)
    assert {one.name: refusals(answer) for one, answer in zip(every, answers, strict=True)} == {
        one.name: [] if one.found is None else [one.found] for one in every
    }
    for one, answer in zip(every, answers, strict=True):
        stamps = answer["timestamps"]
        if one.found is None:
            # what a browser cannot check it neither refuses nor passes
            checked = [stamp["chain"] for stamp in stamps if not stamp["unchecked"]]
            assert (len(stamps), len(checked)) == (3, 3 if one.here else 2), one.name
            assert set(checked) == {one.roots is not None}, one.name
            seen = [(stamp["token"], int(stamp["head_at"]), int(stamp["at"]), stamp["authority"]) for stamp in stamps]
            held = [Kept.parsed(content).check(None) for content in tokens_in(one.parts)]
            assert sorted(seen) == sorted((stamp.token, stamp.head_at, stamp.at, stamp.authority) for stamp in held)


def tokens_in(parts: dict[str, bytes]) -> list[bytes]:
    return [content for name, content in parts.items() if name.startswith("timestamps/")]


def test_both_verifiers_say_the_same_of_tokens_with_another_bit(browser: Browser, tmp_path: Path) -> None:
    case, one = stamps_case(), kept(stamps_case().note)
    asked: list[dict[str, Any]] = []
    expected: list[list[str]] = []
    for place in range(0, len(one.token), 11):
        flipped = bytearray(one.token)
        flipped[place] ^= 1 << place % 8
        changed = kept(case.note, token=bytes(flipped))
        name = f"timestamps/{changed.digest}.json"
        file = zipped(tmp_path / f"{place}.zip", added(case.parts, changed))
        asked.append({"evidence": file, "root": key_text(case.period.root), "authorities": AUTHORITY.pem})
        try:
            changed.check(AUTHORITY.roots)
            expected.append([])
        except Broken as refusal:
            expected.append([f"{name} {refusal.code}"])
    assert [refusals(answer) for answer in ask_evidence(browser, *asked)] == expected
    assert {found[0].split()[1] for found in expected if found} == {"timestamp_malformed", "timestamp_signature"}


@pytest.mark.parametrize(
    ("attack", "trusted", "said"),
    [
        ("a chain of three", True, "It leads to a root that you gave."),
        ("a chain of eleven, no root", False, "No chain was checked, since you gave no root of an authority for time."),
        ("a chain signed with PSS", True, "Not checked here: its chain is signed with RSASSA-PSS."),
        ("a chain of eleven", True, "No valid chain leads to a root that was given."),
    ],
)
def test_a_person_checks_tokens_of_time(page: Browser, tmp_path: Path, attack: str, trusted: bool, said: str) -> None:
    [one] = [one for one in attacks() if one.name == attack]
    page.pick("#evidence", zipped(tmp_path / "evidence.zip", one.parts))
    if trusted:
        (tmp_path / "a.pem").write_bytes(AUTHORITY.pem.rstrip())
        (tmp_path / "b.pem").write_bytes((one.roots or b"").removeprefix(AUTHORITY.pem))
        page.pick("#authorities", tmp_path / "a.pem", tmp_path / "b.pem")
    answer = press(page, "#recount", key_text(stamps_case().period.root))
    assert said in answer
    assert ("The evidence holds\n" in answer) == (one.found is None and one.here)
    assert ("The evidence holds, apart from what this browser could not check" in answer) == (not one.here)
    for width in (390, 1280):
        page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 640
        )
        # nothing of a table stands behind its edge
        fits = "[document.documentElement, ...document.querySelectorAll('.wide')].every((part) => "
        assert page.run(fits + "part.scrollWidth <= part.clientWidth)"), width


@pytest.mark.parametrize(
    "content", [b"no certificate", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"]
)
def test_roots_that_are_none_check_nothing(page: Browser, tmp_path: Path, content: bytes) -> None:
    page.pick("#evidence", zipped(tmp_path / "evidence.zip", stamps_case().parts))
    (tmp_path / "root.pem").write_bytes(content)
    page.pick("#authorities", tmp_path / "root.pem")
    answer = press(page, "#recount", key_text(stamps_case().period.root))
    assert answer.startswith("Nothing was checked: The file of roots holds no certificate in PEM.")

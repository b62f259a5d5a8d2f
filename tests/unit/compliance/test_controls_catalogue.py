"""The catalogue of controls: complete, checked when it is read, and with words for all that can come out."""

from __future__ import annotations

import re
import string
from datetime import date
from importlib.metadata import entry_points

import click
import msgspec
import pytest

from compliance.controls.catalogue import PROFILES, Control, Crosswalk, catalogue, frameworks, parsed, wordings
from compliance.controls.errors import ControlError
from compliance.controls.over_all import OVER_ALL
from compliance.controls.per_call import PER_CALL

CONTROL = """
[[control]]
id = "law-one"
source = "law"
at = "Art. 1"
applies = 2026-01-01
requires.en = "Something."
requires.zh = "某事。"
"""
FILE = f"""
format = 1
[[source]]
id = "law"
name.en = "Law"
name.zh = "法"
title.en = "A law"
title.zh = "某法"
text = "none"
{CONTROL}
"""


def test_it_holds_controls_of_every_law_that_is_asked_for() -> None:
    found = catalogue()
    assert len(found.controls) >= 60
    assert len({one.id for one in found.controls}) == len(found.controls)
    assert {one.source for one in found.controls} == set(found.sources)
    assert set(found.sources) == {
        "ai-act", "gdpr", "pipl", "cn-audit", "cn-genai", "cn-label", "hipaa", "licence",
    }  # fmt: skip
    for profile in PROFILES:
        assert found.of(profile)
    assert len(found.of("all")) == sum(len(found.of(profile)) for profile in PROFILES)


@pytest.mark.parametrize("control", catalogue().controls, ids=lambda one: one.id)
def test_a_control_says_from_when_on_and_where_frameworks_ask_the_same(control: Control) -> None:
    assert control.crosswalk.nist
    assert control.crosswalk.iso42001
    assert control.crosswalk.soc2
    assert control.applies is not None or control.source == "licence"
    assert control.read in (None, date(2026, 11, 28), date(2026, 11, 29))
    text = f"{control.requires.en} {control.question.en if control.question else ''}"
    assert "compliant" not in text.lower()


def test_what_was_not_read_of_a_framework_is_said_and_what_was_is_named_somewhere() -> None:
    found = frameworks()
    named = {of: {name for one in catalogue().controls for name in getattr(one.crosswalk, of)} for of in found}
    for of, framework in found.items():
        assert (framework.read is None) == (not framework.items)
        assert framework.items <= named[of]
    mixed = Crosswalk(nist=("GOVERN 1.1", "GOVERN 9.9"), iso42001=("A.6.2.8",), soc2=("CC7.2", "CC0.0"))
    assert mixed.unread() == ("GOVERN 9.9", "A.6.2.8", "CC0.0")


def test_every_check_is_there_has_words_and_is_used() -> None:
    checks = {*PER_CALL, *OVER_ALL}
    assert not set(PER_CALL) & set(OVER_ALL)
    assert set(wordings()) == checks
    assert {one.check for one in catalogue().controls if one.check} == checks


@pytest.mark.parametrize("name", sorted(wordings()))
def test_words_name_counts_only_and_the_same_in_both_languages(name: str) -> None:
    one = wordings()[name]
    for said in (one.holds, one.fails, one.none, one.fix):
        english, chinese = (
            {field for _, field, _, _ in string.Formatter().parse(text) if field} for text in (said.en, said.zh)
        )
        assert english <= {"n", "of", "days"}
        assert chinese <= {"n", "of", "days"}
        assert english <= chinese | {"n", "of"}
        assert "compliant" not in said.en.lower()


def test_a_threshold_stands_where_its_check_needs_one() -> None:
    for one in catalogue().controls:
        assert (one.days is not None) == (one.check in {"kept_high_risk", "kept_generated"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (FILE + 'check = "sealed"\nmore = 1', "unknown field `more`"),
        (FILE + 'check = "sealed"\nquestion.en = "Who?"\nquestion.zh = "谁"', "a check or a question"),
        (FILE, "a check or a question"),
        (FILE.replace('source = "law"', 'source = "other"') + 'check = "sealed"', "has the source 'other'"),
        (FILE.replace("format = 1", "format = 2") + 'check = "sealed"', "format"),
        (FILE.replace('requires.zh = "某事。"', "") + 'check = "sealed"', "zh"),
        (FILE.replace("law-one", "Law One") + 'check = "sealed"', "id"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(changed: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        parsed(changed.encode())


def test_a_control_that_there_is_not_is_refused() -> None:
    with pytest.raises(ControlError, match="no control 'gdpr-nothing'"):
        catalogue().control("gdpr-nothing")
    assert catalogue().control("hipaa-audit").at == "164.312(b)"


@pytest.mark.parametrize("name", sorted(wordings()))
def test_what_to_do_names_commands_that_exist(name: str) -> None:
    top = {point.name: point for point in entry_points(group="sealpress.commands")}
    for first, second in re.findall(r"sealpress ([a-z]+)(?: ([a-z]+))?", wordings()[name].fix.en):
        if first in ("made", "that"):
            continue  # prose, not a command
        command = top[first].load()
        assert not isinstance(command, click.Group) or not second or second in command.commands

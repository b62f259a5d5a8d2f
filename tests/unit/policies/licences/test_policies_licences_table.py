"""Every fact about a licence has a source, and the words that it names stand in the text."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
from msgspec import structs

from policies.licences import (
    OWN,
    Entry,
    LicenceError,
    digest,
    entries,
    facts,
    identify,
    identify_use_policy,
    known,
    spdx,
    text,
    use_policies,
)
from policies.licences.table import Facts, Stated, use_policy_text
from policies.licences.words import body

TABLE = entries()
FAMILIES = ["permissive", "copyleft", "creative commons", "data", "responsible use", "community", "research"]


def plain(whole: str) -> str:
    return " ".join(whole.split())


def test_the_table_is_large_enough_and_holds_every_family() -> None:
    assert len(TABLE) >= 40
    assert {one.family for one in TABLE.values()} >= set(FAMILIES)
    assert [f.name for f in structs.fields(Facts)] == [f.name for f in structs.fields(Stated)]
    for version in ("2", "3", "3.1", "3.2", "3.3", "4"):
        assert "llama" in spdx(f"llama{version}")


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
def test_every_fact_has_a_source_and_its_words_stand_in_the_text(entry: Entry) -> None:
    assert known(entry.spdx) is entry
    assert date(2026, 11, 1) <= date.fromisoformat(entry.read)
    assert facts(entry.spdx) == entry.plain()
    whole = plain(text(entry.spdx))
    for name, source in structs.asdict(entry.facts).items():
        if source is None:
            continue
        assert source.words or source.value is False, name
        # what stands in a policy of the licence is held against that, where it could be read
        policy = entry.use_policy if source.url is not None else None
        if policy is None:
            assert plain(source.words) in whole, name
            if name == "notices":
                assert all(body(notice) in body(whole) for notice in source.value)
        elif use_policies()[policy].wordings:
            assert source.words in plain(use_policy_text(policy)), name


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
def test_a_text_is_known_by_its_words_and_an_altered_one_is_not(entry: Entry) -> None:
    whole = text(entry.spdx)
    assert identify(whole) == entry.spdx
    assert digest(whole) in entry.wordings
    assert identify(whole.upper().replace("\n", "\r\n ")) == entry.spdx
    assert identify(whole + "\nNot for hospitals.") is None
    assert identify(whole.replace(" the ", " no ", 1) if " the " in whole else "no " + whole) is None


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
def test_a_licence_is_known_by_its_names(entry: Entry) -> None:
    for name in (entry.spdx, entry.spdx.lower(), *entry.names):
        assert spdx(name) == entry.spdx


def test_no_two_licences_have_a_name_or_a_wording_in_common() -> None:
    names = [name for one in TABLE.values() for name in one.names]
    wordings = [wording for one in TABLE.values() for wording in one.wordings]
    assert len(names) == len(set(names))
    assert len(wordings) == len(set(wordings))


def test_an_acceptable_use_policy_is_known_by_its_words() -> None:
    named = {one.use_policy for one in TABLE.values()} - {None}
    assert named == use_policies().keys()
    assert all(one.wordings and one.read for one in use_policies().values())
    for name in use_policies():
        whole = use_policy_text(name)
        assert identify_use_policy(whole) == name
        assert identify_use_policy(whole + " Except on Sundays.") is None
        assert identify(whole) is None
    assert identify_use_policy("x" * 200_000) is None


# a table of its own: what a person found in the texts
@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("Apache-2.0", {"commercial": True, "derive": "share", "share_alike": False, "notice_file": True}),
        ("MIT", {"commercial": True, "derive": "share", "share_alike": False, "notice_file": False}),
        ("CC-BY-4.0", {"commercial": True, "derive": "share", "share_alike": False, "attribution": True}),
        ("CC-BY-NC-4.0", {"commercial": False, "derive": "share", "share_alike": False, "attribution": True}),
        ("CC-BY-ND-4.0", {"commercial": True, "derive": "local"}),
        ("CC-BY-NC-SA-4.0", {"commercial": False, "derive": "share", "share_alike": True}),
        ("CC0-1.0", {"commercial": True, "attribution": False}),
        ("GPL-3.0-only", {"commercial": True, "share_alike": True, "network": None}),
        ("AGPL-3.0-only", {"share_alike": True, "network": True}),
        ("LicenseRef-scancode-llama-2-license-2023", {"users": 700_000_000, "prefixes": (), "share_alike": None}),
        (
            "LicenseRef-scancode-llama-3.2-license-2024",
            {"users": 700_000_000, "prefixes": ("Llama",), "multimodal": ("EU",), "displays": ("Built with Llama",)},
        ),
        ("LicenseRef-scancode-llama-3.3-license-2024", {"multimodal": ("EU",), "prefixes": ("Llama",)}),
        ("LicenseRef-scancode-llama-4-cla-2025", {"multimodal": ("EU",)}),
        (
            "LicenseRef-llama-3-2024",
            {
                "users": 700_000_000,
                "prefixes": ("Llama 3",),
                "displays": ("Built with Meta Llama 3",),
                "multimodal": (),
            },
        ),
        (
            "LicenseRef-scancode-stable-diffusion-2022-08-22",
            {"commercial": True, "pass_on": True, "hosted": True, "share_alike": False},
        ),
        ("LicenseRef-scancode-gemma-tou-2025-03-24", {"hosted": True, "pass_on": True, "users": None}),
        ("LicenseRef-scancode-qwen-2024", {"users": 100_000_000, "commercial": True}),
        ("LicenseRef-scancode-deepseek-la-1.0", {"hosted": True, "forbidden": ("automated_decisions", "military")}),
        ("LicenseRef-scancode-nvidia-open-model-2025-04-28", {"guardrails": True, "revocable": True}),
        ("LicenseRef-scancode-stability-ai-community-2024", {"revenue": 1_000_000, "commercial": True}),
        ("LicenseRef-scancode-tencent-hunyuan-3d-2.0-cla", {"territories": ("EU", "GB", "KR"), "users": 1_000_000}),
        (
            "LicenseRef-scancode-exaone-ai-model-1.1-nc",
            {"commercial": False, "research": True, "prefixes": ("EXAONE",)},
        ),
        ("LicenseRef-scancode-stability-ai-nc-2023-12-06", {"commercial": False, "no_hosting": True}),
        ("LicenseRef-scancode-apple-ml-ferret-2023", {"commercial": None, "derive": "share"}),
        (OWN, {"commercial": True, "derive": "share", "attribution": False}),
    ],
)
def test_a_fact_says_what_the_text_says(licence: str, said: dict[str, object]) -> None:
    assert {name: getattr(facts(licence), name) for name in said} == said


@pytest.mark.parametrize(
    "licence", ["", "apache-2.0", "GPL-3.0", "MIT OR Apache-2.0", "../MIT", "MIT AND", "MIT AND x"]
)
def test_another_licence_is_unknown(licence: str) -> None:
    with pytest.raises(LicenceError) as caught:
        facts(licence)
    assert caught.value.code == "licence_unknown"


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"spdx": "../MIT"},
        {"read": "yesterday"},
        {"url": "ftp://x"},
        {"wordings": []},
        {"wordings": ["abc"]},
        {"family": "odd"},
        {"more": 1},
        {"facts": {"derive": {"value": "all", "section": "section 1"}}},
        {"facts": {"commercial": {"value": True}}},
        {"facts": {"commercial": {"value": 1, "section": "section 1"}}},
        {"facts": {"users": {"value": 0, "section": "section 1"}}},
        {"facts": {"territories": {"value": ["Europe"], "section": "section 1"}}},
        {"facts": {"odd": {"value": True, "section": "section 1"}}},
    ],
)
def test_the_schema_refuses_what_is_no_entry(change: dict[str, object]) -> None:
    plain = msgspec.to_builtins(known("MIT"))
    assert msgspec.convert(plain, Entry) == known("MIT")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**plain, **change}, Entry)


def test_the_texts_are_whole() -> None:
    assert text("Apache-2.0").rstrip().endswith("limitations under the License.")
    assert text("MIT").startswith("MIT License\n\nCopyright (c) <year> <copyright holders>\n")
    assert text("CC-BY-4.0").startswith("Attribution 4.0 International\n")
    assert text("CC-BY-4.0").rstrip().endswith("Creative Commons may be contacted at creativecommons.org.")
    assert "NonCommercial" not in text("CC-BY-4.0")
    with pytest.raises(KeyError):
        text("../table")

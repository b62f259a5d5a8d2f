"""The meet over a lineage: whatever goes in, in whichever order, nothing is granted that one ancestor refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.facts import Ancestor
from policies.licences import (
    OWN,
    UNKNOWN,
    LicenceError,
    bound,
    digest,
    entries,
    facts,
    licence_of,
    must_be_covered,
    must_be_known,
    pages,
    together,
)
from policies.licences.meet import MAX_MEMBERS, members
from policies.licences.table import Facts

IDS = [*entries(), OWN]
lineages = st.lists(st.sampled_from(IDS), min_size=1, max_size=6)
DERIVE = {None: 0, "none": 0, "local": 1, "share": 2}
ASKED = (
    "share_alike", "attribution", "notice_file", "changes", "limits", "pass_on", "hosted", "no_hosting", "network",
    "research", "guardrails", "revocable",
)  # fmt: skip
LISTED = ("notices", "prefixes", "displays", "forbidden", "territories", "multimodal")


@given(lineages)
def test_the_meet_grants_nothing_that_one_refuses(lineage: list[str]) -> None:
    met = facts(together(lineage))
    for one in map(facts, lineage):
        assert _no_wider(met, one)
    assert (met.commercial is True) == all(facts(one).commercial is True for one in lineage)
    for name in LISTED:
        assert set(getattr(met, name)) == {value for one in lineage for value in getattr(facts(one), name)}


@given(lineages, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(lineage: list[str], random: object) -> None:
    again = [*lineage, *lineage[:2]]
    random.shuffle(again)  # type: ignore[attr-defined] # hypothesis gives a Random
    assert together(again) == together(lineage)
    assert facts(" AND ".join(dict.fromkeys(again))) == facts(together(lineage))


@given(lineages, st.sampled_from(IDS))
def test_one_ancestor_more_never_widens(lineage: list[str], more: str) -> None:
    assert _no_wider(facts(together([*lineage, more])), facts(together(lineage)))


@given(lineages, lineages)
def test_expressions_go_together_as_their_members_do(one: list[str], other: list[str]) -> None:
    assert together([together(one), together(other)]) == together([*one, *other])
    assert set(members(together(one))) == set(one)


@given(st.sampled_from(IDS))
def test_of_one_licence_it_is_that(licence: str) -> None:
    assert facts(together([licence, licence])) == facts(licence)


@pytest.mark.parametrize(
    ("lineage", "derive"),
    [
        (["MIT", "Apache-2.0"], "share"),
        (["MIT", "GPL-3.0-only"], "share"),
        (["GPL-3.0-only", "CC-BY-SA-4.0"], "local"),
        (["GPL-3.0-only", "CC-BY-NC-4.0"], "local"),
        (["CC-BY-SA-4.0", "LicenseRef-scancode-deepseek-la-1.0"], "local"),
        (["MIT", "CC-BY-ND-4.0"], "local"),
        (["LicenseRef-scancode-llama-3.2-license-2024", "LicenseRef-scancode-exaone-ai-model-1.1-nc"], "local"),
        (["LicenseRef-scancode-llama-3.2-license-2024", "LicenseRef-scancode-llama-4-cla-2025"], "share"),
        ([OWN, "MIT"], "share"),
    ],
)
def test_what_cannot_be_kept_together_is_not_passed_on(lineage: list[str], derive: str) -> None:
    assert facts(together(lineage)).derive == derive


@pytest.mark.parametrize("lineage", [["MIT", "LicenseRef-other"], [""], [f"L-{n}" for n in range(MAX_MEMBERS + 1)]])
def test_one_unknown_ancestor_makes_the_whole_unknown(lineage: list[str]) -> None:
    with pytest.raises(LicenceError) as caught:
        together(lineage)
    assert caught.value.code == "licence_unknown"


kin = st.lists(
    st.builds(
        Ancestor,
        name=st.sampled_from(["a", "b"]),
        digest=st.just("00" * 32),
        licence=st.sampled_from([*IDS, UNKNOWN]),
        relation=st.sampled_from(["parent", "merged", "adapter", "calibration", "training"]),
    ),
    min_size=1,
    max_size=8,
)


@given(kin, st.randoms(use_true_random=False))
def test_a_lineage_is_worth_what_all_of_it_allows_in_whichever_order(lineage: list[Ancestor], random: object) -> None:
    licence = licence_of(lineage)
    must_be_covered(licence, lineage)
    shuffled = list(lineage)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis gives a Random
    assert licence_of(shuffled) == licence
    if any(one.licence == UNKNOWN for one in lineage):
        for call in (lambda: facts(licence), lambda: must_be_known(shuffled)):
            with pytest.raises(LicenceError):
                call()
    else:
        must_be_known(lineage)
        assert all(_no_wider(facts(licence), facts(one.licence)) for one in lineage)


@given(kin, st.data())
def test_a_licence_that_leaves_an_ancestor_out_is_refused(lineage: list[Ancestor], data: st.DataObject) -> None:
    held = {one.licence for one in lineage}
    left = data.draw(st.sampled_from(sorted(held)))
    rest = held - {left}
    with pytest.raises(LicenceError) as caught:
        must_be_covered(" AND ".join(sorted(rest)) or "LicenseRef-other", lineage)
    assert caught.value.code == "licence_left_out"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6))
def test_texts_that_were_bound_are_told_by_their_words_again(texts: list[str]) -> None:
    told = {digest(text) for text in texts if text.replace("\f", "").strip()}
    assert {digest(page) for page in pages(bound(texts))} == told


def _no_wider(one: Facts, other: Facts) -> bool:
    return (
        (one.commercial is not True or other.commercial is True)
        and DERIVE[one.derive] <= DERIVE[other.derive]
        and all(getattr(one, name) is True or getattr(other, name) is not True for name in ASKED)
        and all(set(getattr(one, name)) >= set(getattr(other, name)) for name in LISTED)
        and all(
            getattr(other, name) is None or (getattr(one, name) or 0) <= getattr(other, name) != 0
            for name in ("users", "revenue")
        )
        and all(getattr(other, name) is None or getattr(one, name) is not None for name in ("users", "revenue"))
    )

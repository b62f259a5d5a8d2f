"""Which way an edit of a purpose goes, for each of its facts, and that none is forgotten."""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from policies.facts import Purpose, Use
from policies.purposes import changes

OLD_USES: frozenset[Use] = frozenset({"medical_advice"})
OLD = Purpose(
    bases=frozenset({"consent", "contract"}),
    retain_days=30,
    recipients=("lab",),
    data=frozenset({"health", "minor"}),
    uses=OLD_USES,
)


@pytest.mark.parametrize(
    ("edit", "fact", "way", "says"),
    [
        ({"bases": OLD.bases | {"public_task"}}, "bases", "widened", "the basis public_task is permitted now"),
        ({"bases": frozenset({"consent"})}, "bases", "narrowed", "the basis contract is permitted no more"),
        ({"commercial": False}, "commercial", "widened", "it counts as not commercial"),
        ({"retain_days": 31}, "retain_days", "widened", "records are kept for 31 days instead of 30"),
        ({"retain_days": 0}, "retain_days", "narrowed", "records are kept for 0 days instead of 30"),
        ({"recipients": ("lab", "ward")}, "recipients", "widened", "answers are passed on to ward"),
        ({"recipients": ()}, "recipients", "narrowed", "answers are passed on no more to lab"),
        ({"data": OLD.data | {"genetic"}}, "data", "narrowed", "its calls are taken to carry genetic"),
        ({"uses": OLD_USES | {"military"}}, "uses", "narrowed", "it is a use for military"),
        ({"uses": OLD_USES | {"research"}}, "uses", "widened", "it is a use for research"),
        ({"data": frozenset({"minor"})}, "data", "widened", "its calls are taken no more to carry health"),
    ],
)
def test_each_fact_goes_its_way_and_back(edit: dict[str, object], fact: str, way: str, says: str) -> None:
    new = structs.replace(OLD, **edit)
    (found,) = changes({"care": OLD}, {"care": new})
    assert (found.purpose, found.fact, found.way, found.says) == ("care", fact, way, f"care: {says}")
    (back,) = changes({"care": new}, {"care": OLD})
    assert (back.fact, back.way) == (fact, {"widened": "narrowed", "narrowed": "widened"}[way])


def test_every_fact_of_a_purpose_is_compared() -> None:
    other = Purpose(bases=frozenset(), commercial=False, retain_days=1)
    assert {one.fact for one in changes({"care": OLD}, {"care": other})} == set(Purpose.__struct_fields__)


def test_a_purpose_more_widens_and_a_purpose_less_narrows() -> None:
    found = changes({"care": OLD, "old": OLD}, {"care": OLD, "new": OLD})
    assert [(one.purpose, one.fact, one.way) for one in found] == [
        ("new", "declared", "widened"),
        ("old", "declared", "narrowed"),
    ]
    assert changes({"care": OLD}, {"care": OLD}) == []


def test_to_say_the_uses_widens_since_licences_that_ask_refuse_what_is_not_said() -> None:
    silent = structs.replace(OLD, uses=UNSET)
    found = changes({"care": silent}, {"care": structs.replace(OLD, uses=frozenset())})
    assert [(one.fact, one.way, one.says) for one in found] == [("uses", "widened", "care: its uses are said now")]
    found = changes({"care": OLD}, {"care": silent})
    assert ("uses", "narrowed", "care: its uses are not said any more") in [(x.fact, x.way, x.says) for x in found]

"""What usage grants allow against what the heads of the period count."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from compliance.evidence.model import Evidence, UsageGrant
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from compliance.report.audit.quota import quota
from compliance.report.audit.recount import recount
from compliance.report.errors import ReportError
from compliance.state.grants.terms import Terms
from tests.evidences import evidence

ONE, OTHER = "1" * 32, "2" * 32
INPUTS = Inputs(profile="licence", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)


def grant(id_: str, **limits: Any) -> UsageGrant:
    terms = Terms(id=id_, issuer="maker", holder="clinic", box="12" * 16, models=("m",), starts=0, ends=2, **limits)
    return UsageGrant(terms=terms, key="ed25519:x")


def period(*grants: UsageGrant) -> Evidence:
    [span] = evidence().spans
    first = structs.replace(span.first, usage={f"{ONE}/calls": 10})
    last = structs.replace(span.last, usage={f"{ONE}/calls": 25, f"{ONE}/cpu_us": 2_500_000, f"{OTHER}/tokens": 7})
    return evidence(spans=(structs.replace(span, first=first, last=last),), grants=grants)


def test_each_limit_stands_beside_what_was_used_in_the_period_and_ever() -> None:
    found = quota(period(grant(OTHER, tokens=1000), grant(ONE, calls=100, cpu_s=60)))
    assert [(row.note, row.name, [one.value for one in row.figures]) for row in found.rows] == [
        (ONE, "clinic: calls", [100, 15, 25]),
        (ONE, "clinic: cpu_s", [60, 2.5, 2.5]),
        (OTHER, "clinic: tokens", [1000, 7, 7]),
    ]


def test_what_has_no_limit_has_no_row_and_without_grants_there_is_no_table() -> None:
    assert quota(period(grant(ONE))).rows == ()
    assert "quota" not in {table.id for table in made(period(), INPUTS).licences}


def test_its_numbers_are_counted_again() -> None:
    of = period(grant(ONE, calls=100))
    content = written(made(of, INPUTS), "json")
    assert recount(content, "json", of)
    place = content.index(f'"quota.{ONE}.calls.used"'.encode())
    edited = content[:place] + content[place:].replace(b'"value": 15', b'"value": 14', 1)
    with pytest.raises(ReportError, match=f"quota.{ONE}.calls.used' says 14, and the leaves give 15"):
        recount(edited, "json", of)

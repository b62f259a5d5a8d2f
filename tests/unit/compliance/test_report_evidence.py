"""What is counted from heads and records, and that two tellings of the same calls must agree."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from compliance.journal.reader import Kind, Record, Unread
from compliance.journal.records import Closed, Noted, Opened
from compliance.journal.shard import OTHERS, UNREAD
from compliance.report.errors import ReportError
from compliance.report.evidence import Evidence, collect
from compliance.report.recount import Missing, Recount, Tally
from compliance.verify.journal import Verified
from compliance.verify.leaf import shard_name
from compliance.verify.statements import Head
from policies.facts import Call, Finding, Outcome, Sanitised

JOURNAL = "0123456789abcdef0123456789abcdef"
PAPERS: dict[str, Any] = {
    "manifest": {
        "format": 1,
        "name": "small",
        "version": "1",
        "digest": "d" * 64,
        "licence": "MIT",
        "lineage": [{"name": "large", "digest": "e" * 64, "licence": "MIT", "relation": "parent"}],
        "recipe": [{"kind": "int8", "per_channel": True}],
    },
    "measurements": {
        "before": {"size_bytes": 400, "latency_ms": 4.0, "fidelity": 1.0},
        "after": {"size_bytes": 100, "latency_ms": 1.0, "fidelity": 0.99},
        "machine": "a machine",
        "method": {},
    },
}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


LATER = at("2026-12-01T00:00:00")


def opened(
    number: int, *rules: str, shard: str = "shard-000", when: str = "2026-11-20T12:00:00", **facts: Any
) -> Record:
    """An allowed call, or one that was refused by these rules."""
    fields: dict[str, Any] = {
        "actor": "a",
        "tenant": "t",
        "action": "infer",
        "model": "d" * 64,
        "purpose": "search",
        "at": at(when),
    }
    call = Call(id=f"{shard}-{number}", **(fields | facts))
    against = tuple(Finding(rule=rule, ok=False, reason="no") for rule in rules)
    metadata = Opened(
        call=call, model={"name": "small"}, policy="p" * 64, allowed=not rules, rules=("a.rule",), against=against
    )
    return Record(record=f"{shard}/{number}", kind="refused" if rules else "allowed", metadata=metadata)


def closed(number: int, of: int, code: str | None = None, shard: str = "shard-000") -> Record:
    outcome = Outcome(ok=code is None, code=code)
    metadata = Closed(at=LATER, call=f"{shard}-{of}", outcome=outcome)
    return Record(record=f"{shard}/{number}", kind="closed", of=f"{shard}/{of}", metadata=metadata)


def loaded(number: int, data: dict[str, Any]) -> Record:
    return Record(record=f"shard-000/{number}", kind="noted", metadata=Noted(at=LATER, kind="loaded", data=data))


def unread(number: int, kind: Kind, why: Unread = "erased", of: int | None = None) -> Record:
    of_record = None if of is None else f"shard-000/{of}"
    return Record(record=f"shard-000/{number}", kind=kind, of=of_record, unread=why)


def signed(size: int, allowed: int, refused: int, rules: dict[str, int], shard: int = 0, when: int = LATER) -> Head:
    return Head(JOURNAL, shard, size, bytes(32), when, 0, allowed, refused, rules=rules)


def evidence(records: Iterable[Record] | None, *heads: Head, unfinished: int = 0, unsealed: int = 0) -> Evidence:
    named = {shard_name(head.shard): head for head in heads}
    return collect(Verified(id=JOURNAL, heads=named, unfinished=unfinished, unsealed=unsealed), records)


def recounted(records: Iterable[Record], *heads: Head) -> Recount:
    found = evidence(records, *heads).recount
    assert found is not None
    return found


def test_an_empty_journal_has_nothing_in_it() -> None:
    found = evidence([])
    assert (found.records, found.allowed, found.refused, found.shards, found.rules) == (0, 0, 0, (), {})
    assert found.recount is not None
    assert (found.recount.days, found.recount.models, found.recount.done) == ((), (), 0)


def test_without_the_key_there_are_signed_counters_only_summed_over_the_shards() -> None:
    found = evidence(
        None,
        signed(10, 3, 2, {"a.rule": 1, "b.rule": 2}),
        signed(7, 1, 1, {"a.rule": 5}, shard=1),
        unfinished=4,
        unsealed=2,
    )
    assert found.recount is None
    assert (found.records, found.allowed, found.refused) == (17, 4, 3)
    assert list(found.rules.items()) == [("a.rule", 6), ("b.rule", 2)]
    assert (found.unfinished, found.unsealed) == (4, 2)
    assert [shard.name for shard in found.shards] == ["shard-000", "shard-001"]


def test_a_scan_counts_as_a_call_and_what_a_model_found_with_the_call_it_was_for() -> None:
    records = [
        opened(1, action="scan", data=frozenset({"email"}), scan_of="shard-000-2"),
        opened(2, data=frozenset({"email"}), detected=frozenset({"person_name"})),
    ]
    recount = recounted(records, signed(3, 2, 0, {}))
    assert [(tally.name, tally.allowed) for tally in recount.data] == [("email", 1), ("person_name, by a model", 1)]
    assert {(tally.name, tally.allowed) for tally in recount.actions} == {("infer", 1), ("scan", 1)}


def test_days_are_days_in_utc() -> None:
    records = [
        opened(1, when="2026-11-20T23:59:59"),
        opened(2, when="2026-11-21T00:00:00"),
        opened(3, "a.rule", when="2026-11-21T23:59:59"),
    ]
    recount = recounted(records, signed(4, 2, 1, {"a.rule": 1}))
    assert [(day.day, day.allowed, day.refused) for day in recount.days] == [
        (date(2026, 11, 20), 1, 0),
        (date(2026, 11, 21), 1, 1),
    ]


@pytest.mark.parametrize("when", [-1, LATER + 1, 10**40])
def test_an_impossible_time_is_counted_on_no_day(when: int) -> None:
    recount = recounted([opened(1, at=when), opened(2)], signed(3, 2, 0, {}))
    assert recount.misdated == 1
    assert sum(day.allowed for day in recount.days) == 1
    assert recount.purposes == (Tally(name="search", allowed=2, refused=0),)


def test_calls_are_counted_by_purpose_action_kind_of_data_and_rule() -> None:
    records = [
        opened(1, data=frozenset({"email", "phone"})),
        opened(2, purpose="assistance"),
        opened(3, "purpose.stated", purpose=None),
        opened(4, "privacy.basis", "licence.commercial", data=frozenset({"email"})),
        opened(5, action="compress", purpose=None),
    ]
    rules = {"purpose.stated": 1, "privacy.basis": 1, "licence.commercial": 1}
    recount = recounted(records, signed(6, 3, 2, rules))
    assert recount.purposes == (
        Tally(name="", allowed=1, refused=1),
        Tally(name="search", allowed=1, refused=1),
        Tally(name="assistance", allowed=1, refused=0),
    )
    assert recount.actions == (
        Tally(name="infer", allowed=2, refused=2),
        Tally(name="compress", allowed=1, refused=0),
    )
    assert recount.data == (Tally(name="email", allowed=1, refused=1), Tally(name="phone", allowed=1, refused=0))
    assert recount.rules == rules


def test_what_was_taken_out_is_counted_by_kind_and_how() -> None:
    def done(kind: Any, *data: str) -> Sanitised:
        return Sanitised(kind=kind, data=frozenset(data))

    records = [
        opened(1, sanitised=done("redact", "email", "phone")),
        opened(2, "privacy.redact", sanitised=done("redact", "email")),
        opened(3, sanitised=done("pseudonymise", "email"), data=frozenset({"email"})),
        opened(4, sanitised=done("redact")),
        opened(5),
    ]
    recount = recounted(records, signed(6, 4, 1, {"privacy.redact": 1}))
    assert recount.sanitised == (
        Tally(name="email (masked)", allowed=1, refused=1),
        Tally(name="email (pseudonyms)", allowed=1, refused=0),
        Tally(name="phone (masked)", allowed=1, refused=0),
    )
    assert recount.data == (Tally(name="email", allowed=1, refused=0),)


def test_every_allowed_call_is_done_failed_or_without_an_outcome() -> None:
    records = [opened(1), opened(2), opened(3), closed(4, of=1), closed(5, of=2, code="model_failed"), opened(6, "r")]
    found = evidence(records, signed(7, 3, 1, {"r": 1}))
    assert found.recount is not None
    assert (found.recount.done, found.recount.failed, found.unfinished) == (1, {"model_failed": 1}, 1)


def test_an_outcome_may_stand_behind_the_head_or_in_an_earlier_shard() -> None:
    outcome = Outcome(ok=False, code="memory")
    records = [
        Record(
            record="shard-000/1",
            kind="closed",
            of="shard-001/1",
            metadata=Closed(at=LATER, call="shard-001-1", outcome=outcome),
        ),
        opened(1, shard="shard-001"),
        opened(2, shard="shard-001"),
        closed(9, of=2, shard="shard-001"),
    ]
    recount = recounted(records, signed(2, 0, 0, {}), signed(3, 2, 0, {}, shard=1))
    assert (recount.done, recount.failed, recount.unfinished) == (1, {"memory": 1}, 0)


def test_records_behind_the_head_and_in_shards_without_one_do_not_count() -> None:
    records = [opened(1), opened(2), opened(0, shard="shard-001"), unread(3, "allowed")]
    found = evidence(records, signed(2, 1, 0, {}), unsealed=1)
    assert found.recount is not None
    assert (found.allowed, found.recount.purposes[0].allowed, found.recount.erased.records) == (1, 1, 0)


def test_a_model_comes_with_its_papers_and_with_the_calls_that_it_answered() -> None:
    records = [
        loaded(1, PAPERS),
        opened(2),
        opened(3, "r"),
        opened(4, model="e" * 64, action="compress"),
        opened(5, model="f" * 64),
    ]
    recount = recounted(records, signed(6, 3, 1, {"r": 1}))
    models = {model.digest[0]: model for model in recount.models}
    assert (models["d"].allowed, models["d"].refused, models["d"].answered) == (1, 1, 1)
    assert models["d"].papers is not None
    assert models["d"].papers.manifest.lineage[0].name == "large"
    assert (models["e"].allowed, models["e"].answered) == (1, 0)
    assert models["f"].papers is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"manifest": PAPERS["manifest"]},
        {**PAPERS, "manifest": {**PAPERS["manifest"], "recipe": "int8"}},
        {
            **PAPERS,
            "measurements": {**PAPERS["measurements"], "after": {"size_bytes": 0, "latency_ms": 1, "fidelity": 1}},
        },
    ],
)
def test_papers_that_cannot_be_read_are_none(data: dict[str, Any]) -> None:
    recount = recounted([loaded(1, data), opened(2)], signed(3, 1, 0, {}))
    assert recount.models[0].papers is None


def test_a_policy_is_shown_from_its_first_call_to_its_last() -> None:
    days = ["2026-11-03T00:00:00", "2026-11-01T00:00:00", "2026-11-02T00:00:00"]
    recount = recounted([opened(i, when=day) for i, day in enumerate(days, 1)], signed(4, 3, 0, {}))
    (policy,) = recount.policies
    assert (policy.calls, policy.first, policy.last) == (3, at("2026-11-01T00:00:00"), at("2026-11-03T00:00:00"))


@pytest.mark.parametrize(
    ("allowed", "refused", "rules", "named"),
    [
        (3, 1, {"r": 1}, "3 calls allowed and 1 refused, recounted 2 and 1"),
        (1, 1, {"r": 1}, "1 calls allowed and 1 refused, recounted 2 and 1"),
        (1, 2, {"r": 2}, "1 calls allowed and 2 refused, recounted 2 and 1"),
        (2, 1, {"r": 2}, "2 refusals by 'r', recounted 1"),
        (2, 1, {}, "0 refusals by 'r', recounted 1"),
        (2, 1, {"r": 1, "s": 1}, "1 refusals by 's', recounted 0"),
    ],
)
def test_a_recount_that_is_not_what_was_signed_is_refused_and_names_the_numbers(
    allowed: int, refused: int, rules: dict[str, int], named: str
) -> None:
    with pytest.raises(ReportError, match=named) as error:
        evidence([opened(1), opened(2), opened(3, "r")], signed(4, allowed, refused, rules))
    assert error.value.code == "report_counters"


def test_shards_are_compared_one_by_one() -> None:
    records = [opened(1), opened(1, shard="shard-001")]
    with pytest.raises(ReportError, match="shard-000"):
        evidence(records, signed(2, 2, 0, {}), signed(2, 0, 0, {}, shard=1))


@pytest.mark.parametrize("why", ["erased", "other_auditor"])
def test_calls_that_cannot_be_read_stay_counted_and_are_said(why: Unread) -> None:
    records = [
        opened(1),
        unread(2, "allowed", why),
        unread(3, "closed", why, of=2),
        opened(4, "r"),
        unread(5, "refused", why),
    ]
    found = evidence(records, signed(6, 2, 2, {"r": 2}))
    assert found.recount is not None
    assert (found.allowed, found.refused) == (2, 2)
    missing, none = Missing(records=3, allowed=1, refused=1), Missing(records=0, allowed=0, refused=0)
    expected = (missing, none) if why == "erased" else (none, missing)
    assert (found.recount.erased, found.recount.elsewhere) == expected
    assert (found.recount.rules, found.recount.unfinished) == ({"r": 1}, 1)


def test_a_call_whose_outcome_is_sealed_to_another_auditor_has_ended_all_the_same() -> None:
    recount = recounted([opened(1), unread(2, "closed", "other_auditor", of=1)], signed(3, 1, 0, {}))
    assert (recount.unread, recount.unfinished, recount.done) == (1, 0, 0)


def test_what_can_be_read_cannot_be_missing() -> None:
    with pytest.raises(ReportError, match="recounted 1 and 0, and 1 and 0 that cannot be read"):
        evidence([opened(1), unread(2, "allowed"), unread(3, "noted")], signed(5, 3, 0, {}))


@pytest.mark.parametrize("bucket", [UNREAD, OTHERS])
def test_refusals_that_a_head_counts_without_their_rule_are_found_again_in_the_records(bucket: str) -> None:
    records = [opened(1, "r"), opened(2, "r")]
    recount = recounted(records, signed(3, 0, 2, {"r": 1, bucket: 1}))
    assert recount.rules == {"r": 2}
    with pytest.raises(ReportError, match="0 refusals by 'r', recounted 2"):
        evidence(records, signed(3, 0, 2, {bucket: 1}))


def test_the_digest_is_that_of_the_heads() -> None:
    first, other = signed(3, 1, 0, {}), signed(3, 1, 0, {}, when=LATER + 1)
    assert evidence(None, first).digest == evidence(None, first).digest != evidence(None, other).digest
    assert len(evidence(None, first).digest) == 64

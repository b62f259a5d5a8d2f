"""What keys in other hands opened: of a forged journal of which everything is known."""

from __future__ import annotations

import pytest

from compliance.duties.readable import Readable, readable
from tests.forge import ForgedShard, opener
from tests.periods import Period

ALL = 2**62


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    """Two records were released, one of them to another auditor; of one person everything was erased."""

    def released(shard: ForgedShard) -> None:
        for record, auditor in (("shard-000/5", "auditor"), ("shard-000/7", "another")):
            shard.noted("released", {"record": record, "auditor": opener(auditor).fingerprint.hex()})

    return Period.forged(tmp_path_factory.mktemp("period") / "journal", erased="patient-9", odd=released)


def found(period: Period, *, auditor: bool = True, salts: bool = True, since: int = 0, until: int = ALL) -> Readable:
    return readable(period.walk(), period.source(), auditor=auditor, salts=salts, since=since, until=until)


def test_both_keys_open_all_that_was_not_erased(period: Period) -> None:
    both = found(period)
    opened = len(period.source())
    assert both.records == opened
    assert both.erased_before == 0
    assert both.erased_since == 2
    assert found(period, since=period.until).erased_before == 2


def test_a_time_that_ended_earlier_leaves_out_what_came_later(period: Period) -> None:
    early = found(period, until=period.since)
    assert 0 < early.calls < found(period).calls
    assert early.erased_since == early.erased_before == 0


def test_the_auditors_key_alone_opens_what_was_released_to_that_auditor(period: Period) -> None:
    assert found(period, salts=False).records == 1
    # before the release, nothing
    assert found(period, salts=False, until=period.since).records == 0


def test_the_salts_alone_open_nothing(period: Period) -> None:
    salts = found(period, auditor=False)
    assert (salts.records, salts.calls, salts.subjects) == (0, 0, ())

"""How prompts begin is kept for who may see it, as long as there is room, and gives the same bits as a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.facts import Call
from tests.unit.toolkit.runtime.decoder_kinds import VOCABULARY, slots
from toolkit.runtime.cache import Alone, Cache
from toolkit.runtime.prefixes import LIFE_S, Prefixes

PART = 8
IDS = np.random.default_rng(0).integers(0, VOCABULARY, 3 * PART + 3).tolist()
OTHER = np.random.default_rng(1).integers(0, VOCABULARY, 3 * PART + 3).tolist()


def call(**changes: Any) -> Call:
    return Call(**{"id": "c", "at": 0, "actor": "a", "tenant": "ward", "action": "infer", "model": "m", **changes})


def asked(prefixes: Prefixes, ids: list[int], **changes: Any) -> tuple[int, bytes]:
    """How many tokens of a prompt were there, and the logits of its last."""
    shelf = prefixes.of(call(**changes))
    with Cache(Alone(slots("w4-t8", 1, 60))) as cache:
        found = shelf.begin(cache, ids)
        assert cache.tokens == found
        while cache.tokens < len(ids):
            logits = cache.step(ids[cache.tokens : cache.tokens + prefixes.part])
        shelf.keep(cache)
    return found, logits.tobytes()


@pytest.fixture
def prefixes() -> Prefixes:
    return Prefixes(PART, 100)


def test_what_was_kept_gives_the_same_bits_as_a_run(prefixes: Prefixes) -> None:
    first = asked(prefixes, IDS)
    again = asked(prefixes, IDS)
    assert (first[0], again[0]) == (0, 3 * PART)
    assert first[1] == again[1]
    longer = [*IDS[: 2 * PART + 1], *OTHER[:9]]
    expected = asked(Prefixes(PART, 100), longer)
    assert asked(prefixes, longer) == (2 * PART, expected[1])


def test_the_last_token_is_always_run(prefixes: Prefixes) -> None:
    whole = IDS[: 2 * PART]
    assert [asked(prefixes, whole)[0] for _ in range(2)] == [0, PART]
    assert asked(prefixes, IDS[:PART])[0] == 0
    assert asked(prefixes, IDS[: PART + 1])[0] == PART


def test_another_tenant_finds_nothing(prefixes: Prefixes) -> None:
    asked(prefixes, IDS)
    assert asked(prefixes, IDS, tenant="war")[0] == 0
    assert asked(prefixes, IDS, tenant="ward", actor="b")[0] == 3 * PART


@pytest.mark.parametrize(
    "personal", [{"subject": "s"}, {"data": frozenset({"health"})}, {"detected": frozenset({"name"})}]
)
def test_calls_about_persons_leave_nothing_and_may_take(prefixes: Prefixes, personal: dict[str, Any]) -> None:
    asked(prefixes, IDS, **personal)
    assert asked(prefixes, IDS)[0] == 0
    assert asked(prefixes, IDS, **personal)[0] == 3 * PART


def test_those_that_were_used_last_stay_and_ends_go_first() -> None:
    prefixes = Prefixes(PART, 4)
    asked(prefixes, IDS)
    asked(prefixes, OTHER)
    assert asked(prefixes, IDS, subject="s")[0] == PART  # the ends of the older one went
    assert asked(prefixes, OTHER, subject="s")[0] == 3 * PART
    tight = Prefixes(PART, 2)
    asked(tight, IDS)
    assert asked(tight, IDS)[0] == 2 * PART
    assert len(tight._kept) == 2


def test_what_nobody_asks_for_goes_and_is_wiped() -> None:
    now = [0.0]
    prefixes = Prefixes(PART, 100, clock=lambda: now[0])
    asked(prefixes, IDS)
    blocks = [one.block for one in prefixes._kept.values()]
    assert all(array.any() for block in blocks for array in block)
    now[0] = LIFE_S - 1
    assert asked(prefixes, IDS)[0] == 3 * PART
    now[0] += LIFE_S
    assert asked(prefixes, IDS, subject="s")[0] == 0
    assert not prefixes._kept
    assert not any(array.any() for block in blocks for array in block)


def test_nothing_outlives_the_model(prefixes: Prefixes) -> None:
    asked(prefixes, IDS)
    blocks = [one.block for one in prefixes._kept.values()]
    prefixes._kept.clear()
    assert not any(array.any() for block in blocks for array in block)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 1), min_size=1, max_size=14)), max_size=12),
)
def test_only_what_the_same_tenant_ran_is_found_and_never_more_than_fits(
    most: int, calls: list[tuple[str, list[int]]]
) -> None:
    prefixes = Prefixes(2, most)
    ran: set[tuple[str, tuple[int, ...]]] = set()
    for tenant, ids in calls:
        shelf = prefixes.of(call(tenant=tenant))
        with Cache(Alone(slots("float", 1, 20))) as cache:
            found = shelf.begin(cache, ids)
            assert found < len(ids)
            assert found == 0 or (tenant, tuple(ids[:found])) in ran
            while cache.tokens < len(ids):
                cache.step(ids[cache.tokens : cache.tokens + 2])
            shelf.keep(cache)
        ran |= {(tenant, tuple(ids[:end])) for end in range(2, len(ids), 2)}
        assert len(prefixes._kept) <= most
        # whatever is there can be found from its beginning
        assert len(ids) <= 2 or prefixes.of(call(tenant=tenant)).begin(Cache(Alone(slots("float", 1, 20))), ids) >= 2

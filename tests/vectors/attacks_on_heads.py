"""Attacks on the heads of a shard: their order, their counters, their spelling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.forge import Forge, ForgedShard, notes_file
from tests.vectors.cases import ATTACKS, Case, Given, attack, case_of, head_of, plain

HEADS, JOINT = "shard-000.heads", "journal.heads"
# a counter that is not what the log shows, in a third head
_MISCOUNTED: Mapping[str, dict[str, Any]] = {
    "allowed-lowered": {"allowed": 2},
    "allowed-raised": {"allowed": 4},
    "refused-raised": {"refused": 2},
    "closed-raised": {"closed": 3},
    "bytes-raised": {"size_bytes": 2**53 - 1},
}
# a counter that the log does not show, in a third and in a fourth head
_FALLING: Mapping[str, tuple[str, Any, Any]] = {
    "old-state-file": ("destroyed", 3, 2),
    "refusals-by-a-rule-lowered": (
        "rules",
        {"base.licence": 1, "base.purpose": 2},
        {"base.licence": 5, "base.purpose": 1},
    ),
    "usage-of-a-grant-gone": ("usage", {"clinic/tokens": 12, "ward/tokens": 4}, {"ward/tokens": 5}),
}
# a line of a third head, and what the thief makes of it
_SPELLED: Mapping[str, tuple[str, str]] = {
    "head-with-a-leading-zero": ("\nallowed 3\n", "\nallowed 03\n"),
    "head-with-a-sign": ("\nallowed 3\n", "\nallowed +3\n"),
    "head-with-other-digits": ("\nallowed 3\n", "\nallowed \u0663\n"),
    "head-with-a-number-too-large": ("\nrefused 1\n", f"\nrefused {2**53}\n"),
    "head-with-a-carriage-return": ("\nrefused 1\n", "\nrefused 1\r\n"),
    "head-with-rules-out-of-order": ("\ndestroyed 0\n", "\ndestroyed 0\nrule 1 b\nrule 1 a\n"),
    "head-with-a-rule-twice": ("\ndestroyed 0\n", "\ndestroyed 0\nrule 1 a\nrule 1 a\n"),
    "head-with-usage-before-rules": ("\ndestroyed 0\n", "\ndestroyed 0\nusage 1 a\nrule 1 a\n"),
    "head-with-a-name-of-another-script": ("\ndestroyed 0\n", "\ndestroyed 0\nrule 1 \u00e9\n"),
    "head-with-usage-of-no-unit": ("\ndestroyed 0\n", "\ndestroyed 0\nusage 1 tokens\n"),
    "head-with-a-line-more": ("\ndestroyed 0\n", "\ndestroyed 0\nnote well\n"),
    "head-without-a-line": ("\ndestroyed 0\n", "\n"),
    "head-of-shard-1000": ("/shard-000\n", "/shard-1000\n"),
}


@attack("shard-000 head 2 head_truncated")
def heads_truncated(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={HEADS: notes_file(shard.heads)[:-20]})


@attack("shard-000 head 2 head_truncated")
def heads_without_their_last_line(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={HEADS: notes_file(shard.heads)[:-1]})


@attack("shard-000 head 0 head_missing")
def heads_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={HEADS: None})


@attack("shard-000 head 0 head_missing")
def heads_emptied(forge: Forge, shard: ForgedShard) -> None:
    shard.heads.clear()


@attack("shard-000 head 1 head_signature")
def head_with_a_flipped_bit(forge: Forge, shard: ForgedShard) -> None:
    shard.heads[1] = shard.heads[1].replace("\nallowed 1\n", "\nallowed 0\n")


@attack("shard-000 head 2 head_signature")
def head_with_its_signature_twice(forge: Forge, shard: ForgedShard) -> None:
    shard.heads[2] += shard.heads[2].partition("\n\n")[2]


@attack("shard-000 head 2 head_signature")
def heads_with_a_second_empty_line_between(forge: Forge, shard: ForgedShard) -> None:
    shard.heads[1] += "\n"


@attack("shard-000 head 2 head_signature")
def head_that_is_not_unicode(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={HEADS: notes_file(shard.heads).replace(b"\nallowed 3\n", b"\nallowed \xff\n")})


@attack("shard-000 head 3 head_origin")
def head_of_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.head(shard=1)


@attack("shard-000 head 3 head_origin")
def head_of_another_journal(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.head(id="00" * 16)


@attack("shard-000 head 3 head_order")
def head_of_the_same_size(forge: Forge, shard: ForgedShard) -> None:
    shard.head()


@attack("shard-000 head 0 head_order")
def first_head_removed(forge: Forge, shard: ForgedShard) -> None:
    del shard.heads[0]


@attack("shard-000 head 3 head_order")
def clock_set_back_at_a_head(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.head(at=head_of(shard.heads[2]).at - 1)


@attack("shard-000/9 record_missing")
def head_over_more_than_there_is(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.head()
    del shard.bodies[9]


def _miscounted(counters: dict[str, Any]) -> Case:
    forge, shard = plain()
    shard.noted()
    shard.head(**counters)
    return case_of(forge, ["shard-000 head 3 head_counters"], Given())


def _falling(counter: str, *values: Any) -> Case:
    forge, shard = plain()
    for value in values:
        shard.noted()
        shard.head(**{counter: value})
    return case_of(forge, ["shard-000 head 4 head_counters"], Given())


def _spelled(old: str, new: str) -> Case:
    forge, shard = plain()
    shard.noted()
    at = forge.tick()
    shard.heads.append(forge.by_day(shard.stated(10, at).text().replace(old, new), at))
    return case_of(forge, ["shard-000 head 3 head_signature"], Given())


ATTACKS.update({name: partial(_miscounted, counters) for name, counters in _MISCOUNTED.items()})
ATTACKS.update({name: partial(_falling, *counter) for name, counter in _FALLING.items()})
ATTACKS.update({name: partial(_spelled, *line) for name, line in _SPELLED.items()})

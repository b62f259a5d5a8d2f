"""Cases of journals: what stands in the folder, what its verifier is given besides, and what it must find.

An attack is a function that does something to a journal which holds. What must be found is thought out from
docs/formats.md, not taken from a verifier; it is written "PLACE CODE" for each failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from compliance.verify.note import Note
from compliance.verify.statements import Head, JointHead
from tests.forge import Forge, ForgedShard

__all__ = ["ATTACKS", "Attack", "Case", "Given", "attack", "case_of", "head_of", "joint_of", "plain", "two_shards"]


@dataclass(frozen=True)
class Given:
    """What comes from outside, and files in place of those of the journal; None removes one."""

    head: str | None = None
    revocations: Sequence[str] = ()
    witness: bytes | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    files: Mapping[str, bytes]
    root: bytes
    given: Given
    failures: Sequence[str]


# what an attacker does to a journal, and to the last of its shards
Attack = Callable[[Forge, ForgedShard], Given | None]
ATTACKS: dict[str, Callable[[], Case]] = {}


def plain(name: str = "journal") -> tuple[Forge, ForgedShard]:
    """One shard.

    head 0, 0 EPOCH, 1 ALLOWED, 2 NOTED of 1, 3 CLOSED of 1, 4 REFUSED, head 1, joint 1,
    5 ALLOWED, 6 CLOSED of 5, 7 ALLOWED, 8 NOTED, head 2, joint 2
    """
    forge = Forge(name)
    shard = forge.shard()
    shard.epoch()
    call = shard.allowed()
    shard.noted(of=call)
    shard.closed(call)
    shard.refused()
    shard.head()
    forge.joint()
    shard.closed(shard.allowed())
    shard.allowed()
    shard.noted()
    shard.head()
    forge.joint()
    return forge, shard


def two_shards() -> tuple[Forge, ForgedShard]:
    """The plain one with a second shard: head 0, 0 EPOCH, 1 ALLOWED, head 1, and joint 3."""
    forge, _ = plain()
    shard = forge.shard()
    shard.epoch()
    shard.allowed()
    shard.head()
    forge.joint()
    return forge, shard


def attack(
    *failures: str, on: Callable[[], tuple[Forge, ForgedShard]] = plain, signs: bool = False
) -> Callable[[Attack], Attack]:
    """Registers an attack under its name. Who `signs` has the key of the day, and signs what was added."""

    def registered(function: Attack) -> Attack:
        def made() -> Case:
            forge, shard = on()
            root = forge.root.public
            given = function(forge, shard) or Given()
            if signs:
                shard.head()
                forge.joint()
            return case_of(forge, failures, given, root)

        ATTACKS[function.__name__.replace("_", "-")] = made
        return function

    return registered


def case_of(forge: Forge, failures: Sequence[str], given: Given, root: bytes | None = None) -> Case:
    files = {name: data for name, data in {**forge.files(), **given.files}.items() if data is not None}
    return Case(files, root or forge.root.public, given, failures)


def head_of(note: str) -> Head:
    return Head.parsed(Note.parsed(note).text)


def joint_of(note: str) -> JointHead:
    return JointHead.parsed(Note.parsed(note).text)

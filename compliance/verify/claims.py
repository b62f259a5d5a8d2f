"""What evidence.json says, which is a claim and no more until the leaves have shown it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from compliance.verify.archive import parsed
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import record_name, shard_name
from compliance.verify.statements import record_parsed

__all__ = ["Claimed", "Earlier", "decoded"]

_MAX_TIME = 2**63
_MEMBERS = "format journal since until box shards earlier consistency counts"


class Earlier(NamedTuple):
    """A note from before the period, with the proof that it stands under the head where the period begins."""

    shard: int
    sequence: int
    body: bytes
    opening: bytes
    metadata: bytes
    path: tuple[bytes, ...]

    @property
    def name(self) -> str:
        return record_name(self.shard, self.sequence)


@dataclass(frozen=True)
class Claimed:
    """What evidence.json says. Times are in nanoseconds since 1970; nothing in it is believed."""

    journal: str
    since: int
    until: int
    box: Mapping[str, str]
    shards: tuple[tuple[tuple[int, int], tuple[bytes, ...]], ...]  # since and until in leaves, and the peaks at since
    earlier: tuple[Earlier, ...]
    consistency: Mapping[tuple[int, int], tuple[bytes, ...]]  # proofs by shard and size
    counts: Mapping[str, Mapping[str, int]]
    # what lies beside the leaves, and what they name that the box had no more; format 1 does not say
    papers: frozenset[str] | None
    absent: frozenset[str] | None

    @classmethod
    def parsed(cls, data: bytes) -> Claimed:
        """Raises NotVerified: evidence_malformed, evidence_format."""
        try:
            value = parsed(data)
            form = value.get("format")
            if type(form) is not int or form not in (1, 2):
                raise NotVerified.at("evidence.json", "evidence_format")
            _members(value, _MEMBERS if form == 1 else f"{_MEMBERS} papers absent")
            return cls(
                journal=_text(value["journal"]),
                since=_time(value["since"]),
                until=_time(value["until"]),
                box={name: _text(said) for name, said in value["box"].items()},
                shards=tuple(_shard(*one) for one in enumerate(value["shards"])),
                earlier=tuple(map(_earlier, value["earlier"])),
                consistency=dict(map(_consistency, value["consistency"])),
                counts={group: _counts(counts) for group, counts in value["counts"].items()},
                papers=_names(value["papers"]) if form == 2 else None,
                absent=_names(value["absent"]) if form == 2 else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise NotVerified.at("evidence.json", "evidence_malformed") from None


def decoded(value: Any) -> bytes:
    """The bytes of base64 in its one spelling. Raises ValueError."""
    text = _text(value)
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError("not in its one spelling")
    return found


def _names(value: list[str]) -> frozenset[str]:
    """Texts in their order, none twice."""
    if value != sorted(set(map(_text, value))):
        raise ValueError("not in order")
    return frozenset(value)


def _members(value: Any, names: str) -> None:
    if value.keys() != set(names.split()):
        raise ValueError("other members")


def _shard(number: int, value: Any) -> tuple[tuple[int, int], tuple[bytes, ...]]:
    _members(value, "shard since until peaks")
    since, until = _count(value["since"]), _count(value["until"])
    if value["shard"] != shard_name(number) or since > until:
        raise ValueError("no shard")
    return (since, until), _hashes(value["peaks"])


def _earlier(value: Any) -> Earlier:
    _members(value, "record path body opening metadata")
    shard, sequence = record_parsed(_text(value["record"]))
    body, opening, metadata = (decoded(value[name]) for name in ("body", "opening", "metadata"))
    if len(opening) != 32:
        raise ValueError("no opening")
    return Earlier(shard, sequence, body, opening, metadata, _hashes(value["path"]))


def _consistency(value: Any) -> tuple[tuple[int, int], tuple[bytes, ...]]:
    _members(value, "shard size path")
    shard, _ = record_parsed(f"{_text(value['shard'])}/0")
    return (shard, _count(value["size"])), _hashes(value["path"])


def _counts(value: Any) -> dict[str, int]:
    return {name: _count(count) for name, count in value.items()}


def _hashes(value: Any) -> tuple[bytes, ...]:
    if type(value) is not list:
        raise ValueError("no list")
    found = tuple(map(decoded, value))
    if any(len(hash_) != 32 for hash_ in found):
        raise ValueError("no hash")
    return found


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("no count")
    return value


def _time(value: Any) -> int:
    found = int(_text(value))
    if str(found) != value or not 0 <= found < _MAX_TIME:
        raise ValueError("no time")
    return found

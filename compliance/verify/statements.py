"""What is said in signed notes: the genesis of a journal, certificates of day keys, heads, joint heads, promises.

Each statement has one spelling (docs/formats.md). `parsed` raises ValueError for any other, and a text is written again
and compared, so that the parsing itself may be lenient.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from compliance.verify.leaf import record_name, shard_name
from compliance.verify.merkle import root_of

__all__ = [
    "DAYS_AHEAD",
    "MAX_SHARDS",
    "Certificate",
    "Genesis",
    "Head",
    "JointHead",
    "Promise",
    "Revocation",
    "day_of",
    "head_parsed",
    "key_bytes",
    "key_text",
    "record_parsed",
]

DAYS_AHEAD = 31
MAX_SHARDS = 1000
_MAX_TIME, _MAX_COUNT = 2**63 - 1, 2**53 - 1
_ID = re.compile(r"[0-9a-f]{32}")
_NAMES = {"rule": re.compile(r"[!-~]+"), "usage": re.compile(r"[!-~]+/[!-~]+")}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY = "ed25519:"


@dataclass(frozen=True)
class Genesis:
    """The identity of a journal (32 hexadecimal digits), the key of its root, and when it was made (ISO 8601)."""

    id: str
    root: bytes
    made: str

    def text(self) -> str:
        return f"sealpress.journal/{self.id}\nroot {key_text(self.root)}\nmade {self.made}\n"

    @classmethod
    def parsed(cls, text: str) -> Genesis:
        origin, root, made = _lines(text, 3)
        id_ = _checked_id(_prefixed(origin, "sealpress.journal/"))
        found = cls(id_, key_bytes(_prefixed(root, "root ")), _prefixed(made, "made "))
        # a time that there is, to the second
        if (
            len(made) != 30
            or not made.endswith("+00:00")
            or datetime.fromisoformat(found.made).isoformat() != found.made
        ):
            raise ValueError("no genesis")
        return _canonical(found, text)


@dataclass(frozen=True)
class Certificate:
    """The root lets this key sign on one day."""

    id: str
    key: bytes
    day: date
    made: date

    def text(self) -> str:
        return f"sealpress.journal/{self.id}/certificate\nkey {key_text(self.key)}\nday {self.day}\nmade {self.made}\n"

    @classmethod
    def parsed(cls, text: str) -> Certificate:
        origin, key, day, made = _lines(text, 4)
        found = cls(
            _id(origin, "/certificate"),
            key_bytes(_prefixed(key, "key ")),
            date.fromisoformat(_prefixed(day, "day ")),
            date.fromisoformat(_prefixed(made, "made ")),
        )
        return _canonical(found, text)

    @property
    def in_bounds(self) -> bool:
        """Whether the day was near enough when it was certified."""
        return timedelta(0) <= self.day - self.made <= timedelta(DAYS_AHEAD)


@dataclass(frozen=True)
class Revocation:
    """The root takes back what it certified, from a time on (nanoseconds since 1970)."""

    id: str
    key: bytes
    since: int

    def text(self) -> str:
        return f"sealpress.journal/{self.id}/revocation\nkey {key_text(self.key)}\nsince {self.since}\n"

    @classmethod
    def parsed(cls, text: str) -> Revocation:
        origin, key, since = _lines(text, 3)
        found = cls(_id(origin, "/revocation"), key_bytes(_prefixed(key, "key ")), _time(_prefixed(since, "since ")))
        return _canonical(found, text)


@dataclass(frozen=True)
class Head:
    """A statement on a shard: so many leaves with this root, at this time (ns), with these cumulative counters.

    `size_bytes` is the length of the log. `rules` counts refusals by rule, `usage` what was used, by grant and unit.
    """

    id: str
    shard: int
    size: int
    root: bytes
    at: int
    size_bytes: int
    allowed: int = 0
    refused: int = 0
    closed: int = 0
    destroyed: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        return "".join(
            (
                f"sealpress.journal/{self.id}/{shard_name(self.shard)}\n",
                f"{self.size}\n{base64.b64encode(self.root).decode()}\nat {self.at}\nbytes {self.size_bytes}\n",
                f"allowed {self.allowed}\nrefused {self.refused}\nclosed {self.closed}\ndestroyed {self.destroyed}\n",
                *(f"rule {count} {name}\n" for name, count in sorted(self.rules.items())),
                *(f"usage {count} {name}\n" for name, count in sorted(self.usage.items())),
            )
        )

    @classmethod
    def parsed(cls, text: str) -> Head:
        origin, size, root, at, size_bytes, *counters = _lines(text)
        if len(counters) < 4:
            raise ValueError("no head")
        id_, _, shard = _prefixed(origin, "sealpress.journal/").partition("/")
        named: dict[str, dict[str, int]] = {"rule": {}, "usage": {}}
        for line in counters[4:]:
            what, count, name = line.split(" ")
            if what not in named or not _NAMES[what].fullmatch(name):
                raise ValueError("no name")
            named[what][name] = _count(count)
        found = cls(
            id=_checked_id(id_),
            shard=_shard(shard),
            size=_count(size),
            root=_hash(root),
            at=_time(_prefixed(at, "at ")),
            size_bytes=_count(_prefixed(size_bytes, "bytes ")),
            allowed=_count(_prefixed(counters[0], "allowed ")),
            refused=_count(_prefixed(counters[1], "refused ")),
            closed=_count(_prefixed(counters[2], "closed ")),
            destroyed=_count(_prefixed(counters[3], "destroyed ")),
            rules=named["rule"],
            usage=named["usage"],
        )
        return _canonical(found, text)

    def by_shard(self) -> dict[int, tuple[int, bytes]]:
        """What is said of each shard: its size and its root."""
        return {self.shard: (self.size, self.root)}

    def counters_grow_to(self, later: Head) -> bool:
        """Whether no counter of the later head is smaller than here, or gone."""
        mine = (self.size_bytes, self.allowed, self.refused, self.closed, self.destroyed)
        theirs = (later.size_bytes, later.allowed, later.refused, later.closed, later.destroyed)
        return all(a <= b for a, b in zip(mine, theirs, strict=True)) and all(
            count <= after.get(name, -1)
            for before, after in ((self.rules, later.rules), (self.usage, later.usage))
            for name, count in before.items()
        )


@dataclass(frozen=True)
class JointHead:
    """A statement on all shards at once: the size and the root of each, by their numbers."""

    id: str
    at: int
    shards: tuple[tuple[int, bytes], ...]

    @property
    def total(self) -> int:
        """How many leaves all shards have."""
        return sum(size for size, _ in self.shards)

    def lines(self) -> list[str]:
        return [
            f"{shard_name(number)} {size} {base64.b64encode(root).decode()}"
            for number, (size, root) in enumerate(self.shards)
        ]

    def text(self) -> str:
        lines = self.lines()
        root = base64.b64encode(root_of(line.encode() for line in lines)).decode()
        return "\n".join((f"sealpress.journal/{self.id}", str(self.total), root, f"at {self.at}", *lines, ""))

    @classmethod
    def parsed(cls, text: str) -> JointHead:
        origin, total, root, at, *lines = _lines(text)
        _count(total)
        _hash(root)
        if len(lines) > MAX_SHARDS:
            raise ValueError("too many shards")
        shards = []
        for line in lines:
            _, size, shard_root = line.split(" ")
            shards.append((_count(size), _hash(shard_root)))
        id_ = _checked_id(_prefixed(origin, "sealpress.journal/"))
        return _canonical(cls(id_, _time(_prefixed(at, "at ")), tuple(shards)), text)

    def by_shard(self) -> dict[int, tuple[int, bytes]]:
        """What is said of each shard: its size and its root."""
        return dict(enumerate(self.shards))

    def grows_to(self, later: JointHead) -> bool:
        """Whether the later one has every shard of this one, none of them smaller, and no earlier time."""
        pairs = zip(self.shards, later.shards, strict=False)
        return self.at <= later.at and len(self.shards) <= len(later.shards) and all(a[0] <= b[0] for a, b in pairs)


def head_parsed(text: str) -> Head | JointHead:
    """A head of a shard, or of all of them. Raises ValueError."""
    return (Head if "/shard-" in text.partition("\n")[0] else JointHead).parsed(text)


@dataclass(frozen=True)
class Promise:
    """These records were written, with these leaf hashes: ((shard, sequence), hash). Made before they are synced."""

    id: str
    at: int
    leaves: tuple[tuple[tuple[int, int], bytes], ...]

    def text(self) -> str:
        lines = (f"leaf {record_name(*place)} {base64.b64encode(leaf).decode()}\n" for place, leaf in self.leaves)
        return f"sealpress.journal/{self.id}/promise\nat {self.at}\n{''.join(lines)}"

    @classmethod
    def parsed(cls, text: str) -> Promise:
        origin, at, *lines = _lines(text)
        leaves = []
        for line in lines:
            _, record, leaf = line.split(" ")
            leaves.append((record_parsed(record), _hash(leaf)))
        if not leaves:
            raise ValueError("no promise")
        return _canonical(cls(_id(origin, "/promise"), _time(_prefixed(at, "at ")), tuple(leaves)), text)


def record_parsed(name: str) -> tuple[int, int]:
    """Shard and sequence of a record that is named as in shard-000/17. Raises ValueError."""
    shard, _, sequence = name.partition("/")
    return _shard(shard), _count(sequence)


def key_text(public: bytes) -> str:
    """An Ed25519 public key as notes and settings write it."""
    return _KEY + base64.b64encode(public).decode()


def key_bytes(text: str) -> bytes:
    """The 32 bytes of such a key. Raises ValueError."""
    public = base64.b64decode(_prefixed(text, _KEY), validate=True)
    if len(public) != 32 or key_text(public) != text:
        raise ValueError("no key")
    return public


def day_of(at: int) -> date:
    """The day in UTC of a time in nanoseconds since 1970. Raises ValueError."""
    try:
        return datetime.fromtimestamp(at // 10**9, UTC).date()
    except (OSError, OverflowError):
        raise ValueError("no day") from None


def _lines(text: str, count: int | None = None) -> list[str]:
    lines = text.removesuffix("\n").split("\n")
    if count is not None and len(lines) != count:
        raise ValueError("another number of lines")
    return lines


def _prefixed(line: str, prefix: str) -> str:
    if not line.startswith(prefix):
        raise ValueError("another line was expected")
    return line.removeprefix(prefix)


def _id(origin: str, ending: str) -> str:
    if not origin.endswith(ending):
        raise ValueError("another origin")
    return _checked_id(_prefixed(origin, "sealpress.journal/").removesuffix(ending))


def _checked_id(id_: str) -> str:
    if not _ID.fullmatch(id_):
        raise ValueError("no id")
    return id_


def _shard(name: str) -> int:
    number = int(name.removeprefix("shard-"))
    if shard_name(number) != name or number >= MAX_SHARDS:
        raise ValueError("no shard")
    return number


def _time(text: str) -> int:
    return _number(text, _MAX_TIME)


def _count(text: str) -> int:
    return _number(text, _MAX_COUNT)


def _number(text: str, limit: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > limit:
        raise ValueError("no number")
    return int(text)


def _hash(text: str) -> bytes:
    found = base64.b64decode(text, validate=True)
    if len(found) != 32:
        raise ValueError("no hash")
    return found


_S = TypeVar("_S", Genesis, Certificate, Revocation, Head, JointHead, Promise)


def _canonical(found: _S, text: str) -> _S:
    if found.text() != text:
        raise ValueError("not in its one spelling")
    return found

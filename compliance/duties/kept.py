"""Incidents and requests of persons as a box keeps them, so that it knows their times without reading its journal.

duties/ID.json, format 1. What is told of them in the journal is what counts; nobody is named in either.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from compliance.crypto import fresh
from compliance.disk import put
from compliance.duties.deadlines import Deadline, IncidentKind, RequestKind, deadlines, due
from compliance.duties.errors import DutyError

__all__ = ["DUTIES", "Duties", "Duty", "clocks"]

DUTIES = "duties"
_MAX_FILE = 65_536  # bytes
_ID = re.compile(r"[0-9a-f]{16}")
_Text = Annotated[str, Meta(min_length=1, max_length=2000)]
_Time = Annotated[int, Meta(ge=0, le=2**62)]


class Duty(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident, or a request of a person. Times are in ns: when it `happened`, `since` when it was known or
    received, and when it was closed or answered. `affected` is how many persons, as far as known; `reason` is why
    the time was extended."""

    format: Literal[1] = 1
    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    kind: IncidentKind | RequestKind
    since: _Time
    text: _Text
    happened: _Time | None = None
    affected: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    reason: _Text | None = None
    ended: _Time | None = None

    def told(self) -> dict[str, Any]:
        """What the journal is told of it."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return {name: said for name, said in value.items() if name != "format" and said is not None}


class Duties:
    """Those of a box. Nothing here is on record until the caller has put it there, and nothing is kept before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self, kinds: tuple[str, ...]) -> tuple[Duty, ...]:
        """Those of these kinds, the oldest first. Raises DutyError: duty_malformed."""
        found = (self._read(path) for path in self._folder.glob("*.json"))
        return tuple(sorted((one for one in found if one.kind in kinds), key=lambda one: (one.since, one.id)))

    def made(self, now: int, **fields: Any) -> Duty:
        """A new one, not yet kept. Raises DutyError: duty_time; msgspec.ValidationError."""
        duty = msgspec.convert({"id": fresh(8).hex(), **fields}, Duty)
        if duty.since > now or (duty.happened is not None and duty.happened > duty.since):
            raise DutyError("duty_time", "it was known before it happened, or lies ahead")
        return duty

    def open(self, id_: str, kinds: tuple[str, ...]) -> Duty:
        """One that is not closed. Raises DutyError: duty_unknown, duty_closed, duty_malformed."""
        path = self._folder / f"{id_}.json"
        duty = self._read(path) if _ID.fullmatch(id_) and path.is_file() else None
        if duty is None or duty.kind not in kinds:
            raise DutyError("duty_unknown", f"there is nothing under {id_[:40]!r}")
        if duty.ended is not None:
            raise DutyError("duty_closed", f"{id_} was closed")
        return duty

    def extended(self, duty: Duty, reason: str, now: int) -> Duty:
        """The same with more time. Raises DutyError: duty_extended."""
        ends = [due(one, duty.since) for one in _applying(duty) if one.extension_months is not None]
        if duty.reason is not None or not any(end is not None and now < end for end in ends):
            raise DutyError("duty_extended", f"the time of {duty.id} was extended, is over, or cannot be extended")
        return _checked(replace(duty, reason=reason))

    def updated(self, duty: Duty, **changes: Any) -> Duty:
        """The same with these fields. Raises msgspec.ValidationError."""
        return _checked(replace(duty, **changes))

    def keep(self, duty: Duty) -> None:
        """Raises Failed."""
        put(self._folder / f"{duty.id}.json", msgspec.json.format(msgspec.json.encode(duty), indent=1) + b"\n")

    def _read(self, path: Path) -> Duty:
        try:
            with path.open("rb") as file:
                duty = msgspec.json.decode(file.read(_MAX_FILE), type=Duty)
            if path.name == f"{duty.id}.json":
                return duty
        except msgspec.MsgspecError:
            pass
        raise DutyError("duty_malformed", f"{path.name} is no incident and no request")


def clocks(duty: Duty) -> tuple[tuple[Deadline, int | None], ...]:
    """Every deadline that applies, with the end of its time (ns), None where the law says at once."""
    return tuple((one, due(one, duty.since, extended=duty.reason is not None)) for one in _applying(duty))


def _applying(duty: Duty) -> tuple[Deadline, ...]:
    return tuple(
        one
        for one in deadlines()
        if duty.kind in one.kinds and (one.affected is None or (duty.affected or 0) >= one.affected)
    )


def _checked(duty: Duty) -> Duty:
    return msgspec.convert(msgspec.to_builtins(duty), Duty)

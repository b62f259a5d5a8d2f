"""The metadata of a record that opens a call, put together from parts that calls have in common."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from policies.facts import Call, Decision, Manifest

__all__ = ["Notes"]

REMEMBERED = 256


class Notes:
    """Decisions on calls that are alike are one object, and so are models: each pair is encoded once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], tuple[Decision, Manifest, Raw, Raw, Raw, Raw]] = {}

    def opened(self, call: Call, model: Manifest, decision: Decision) -> bytes:
        """`Opened` (docs/formats.md) in JSON."""
        about, *told = self._encoded(decision, model)
        return msgspec.json.encode(_Opened(call, about, decision.policy, decision.allowed, *told))

    def _encoded(self, decision: Decision, model: Manifest) -> tuple[Raw, Raw, Raw, Raw]:
        known = self._parts.get((id(decision), id(model)))
        if known is None:
            if len(self._parts) >= REMEMBERED:
                self._parts.clear()
            about = {"name": model.name, "version": model.version, "digest": model.digest, "licence": model.licence}
            parts = (
                about,
                [finding.rule for finding in decision.findings],
                [finding for finding in decision.findings if not finding.ok],
                decision.obligations,
            )
            # both are kept, so that no other object takes their place in memory
            one, two, three, four = (Raw(msgspec.json.encode(part)) for part in parts)
            known = decision, model, one, two, three, four
            self._parts[id(decision), id(model)] = known
        return known[2:]


class _Opened(msgspec.Struct, frozen=True, tag_field="record", tag="opened"):
    """Opened, of which parts are written already."""

    call: Call
    model: Raw
    policy: str
    allowed: bool
    rules: Raw
    against: Raw
    obligations: Raw

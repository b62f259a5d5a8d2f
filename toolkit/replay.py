"""Recorded calls, decided again: by the policy of then, to explain, or by another one, to see what it would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from compliance.journal.reader import Record
from compliance.journal.records import Noted, Opened
from policies.cedar import Engine
from policies.facts import Call, Decision, Manifest

__all__ = ["Recorded", "recorded"]


class Recorded(Struct, frozen=True, kw_only=True):
    """A call as it is on record, and its model as far as the journal tells of it; `whole` is whether it tells all.

    The subject stands under a pseudonym.
    """

    record: str
    call: Call
    model: Manifest
    whole: bool
    policy: str
    allowed: bool
    against: tuple[str, ...]

    def again(self, engine: Engine) -> Decision:
        return engine.decide(self.model, self.call)


def recorded(records: Iterable[Record]) -> Iterator[Recorded]:
    """The calls among records in the order of writing. A model is known in full from when it was loaded."""
    loaded: dict[str, Manifest] = {}
    for record in records:
        match record.metadata:
            case Noted(kind="loaded", data={"manifest": dict(manifest)}):
                known = {name: manifest[name] for name in Manifest.__struct_fields__ if name in manifest}
                found = msgspec.convert(known, Manifest)
                loaded[found.digest] = found
            case Opened(call=call, model=about) as opened:
                yield Recorded(
                    record=record.record,
                    call=call,
                    model=loaded.get(call.model) or _partial(about, call),
                    whole=call.model in loaded,
                    policy=opened.policy,
                    allowed=opened.allowed,
                    against=tuple(finding.rule for finding in opened.against),
                )


def _partial(about: dict[str, str], call: Call) -> Manifest:
    return Manifest(
        format=1,
        name=about.get("name", ""),
        version=about.get("version", ""),
        digest=call.model,
        task="",
        licence=about.get("licence", ""),
        inputs=(),
        outputs=(),
    )

"""Recorded calls, decided again: by the policy of then, to explain, or by another one, to see what it would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from compliance.journal.reader import Record
from compliance.journal.records import Noted, Opened
from policies.cedar import Engine
from policies.facts import Ancestor, Call, Decision, Manifest
from policies.sanitising import undone

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

    @property
    def asked(self) -> Call:
        """The call as it came, before anything was done to its payload."""
        done = self.call.sanitised
        return (
            self.call if done is None else structs.replace(self.call, data=self.call.data | done.data, sanitised=None)
        )

    def again(self, engine: Engine) -> Decision:
        """The decision on the call as it came; or, where this engine asks for just what was done to its payload then,
        on what came of that. What else could have been done, the journal cannot tell: there the refusal asks for it.
        """
        decision = engine.decide(self.model, self.asked)
        done = self.call.sanitised
        if done is not None and undone(decision, self.asked) == done.kind:
            return engine.decide(self.model, self.call)
        return decision


def recorded(records: Iterable[Record]) -> Iterator[Recorded]:
    """The calls among records in the order of writing. A model is known in full from when it was loaded."""
    loaded: dict[str, Manifest] = {}
    for record in records:
        match record.metadata:
            case Noted(kind="loaded", data={"manifest": dict(manifest)}):
                found = msgspec.convert(_known(manifest), Manifest)
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


def _known(written: Mapping[str, Any]) -> dict[str, Any]:
    """Of a bundle's manifest what rules see, without what a bundle says beside it of itself and of its ancestors."""
    known = {name: written[name] for name in Manifest.__struct_fields__ if name in written}
    fields = Ancestor.__struct_fields__
    known["lineage"] = [{name: one[name] for name in fields if name in one} for one in known.get("lineage", ())]
    return known


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

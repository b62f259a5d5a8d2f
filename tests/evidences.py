"""Evidence to test reports and controls with, made up part by part; nothing of it was verified."""

from __future__ import annotations

from typing import Any

from compliance.evidence.model import (
    Box,
    DayKey,
    Evidence,
    ModelPapers,
    OpenedCall,
    Period,
    PolicyText,
    SignedHead,
    Span,
    Told,
    Trial,
)
from compliance.verify.statements import key_text
from policies.facts import Call, Finding, Outcome, Purpose
from tests.forge import FIRST_DAY, SECOND, midnight, signer

__all__ = ["MODEL", "POLICY", "a_call", "evidence", "told"]

MODEL, POLICY = "ab" * 32, "cd" * 32
_NOON = midnight(FIRST_DAY) + 12 * 3600 * SECOND


def evidence(**changes: Any) -> Evidence:
    """A day of a box: one call that was allowed and ended well, one refusal. `changes` are fields of Evidence."""
    calls = changes.pop("calls", (a_call(1), a_call(3, allowed=False)))
    first = SignedHead(shard="shard-000", size=0, root="", at=midnight(FIRST_DAY))
    last = SignedHead(
        shard="shard-000",
        size=4,
        root="",
        at=_NOON + 60 * SECOND,
        allowed=sum(one.allowed for one in calls),
        refused=sum(not one.allowed for one in calls),
        closed=sum(one.outcome is not None for one in calls),
        rules={"base.purpose": sum(not one.allowed for one in calls)},
    )
    measurements = {
        "before": {"size_bytes": 1000, "latency_ms": 2.0, "fidelity": 1.0},
        "after": {"size_bytes": 250, "latency_ms": 1.0, "fidelity": 0.99},
        "machine": "a test",
    }
    manifest = {
        "format": 1, "name": "minilm", "version": "1", "digest": MODEL, "task": "embed", "licence": "MIT",
        "inputs": [], "outputs": [], "purposes": [], "lineage": [], "recipe": [], "versions": {}, "files": {},
    }  # fmt: skip
    fields: dict[str, Any] = {
        "digest": "ef" * 32,
        "box": Box(
            journal="12" * 16,
            root=key_text(signer("root").public),
            made="2026-11-20T12:00:00+00:00",
            declared={"name": "clinic", "tenant": "clinic"},
        ),
        "period": Period(since=first.at, until=last.at),
        "spans": (Span(shard="shard-000", first=first, last=last),),
        "heads": (first, last),
        "keys": (DayKey(key=key_text(signer("day").public), day=FIRST_DAY),),
        "auditors": ("34" * 32,),
        "calls": calls,
        "policies": (
            PolicyText(
                digest=POLICY,
                texts={"base.cedar": "permit (principal, action, resource);"},
                purposes={"search": Purpose(bases=frozenset({"consent"}), retain_days=180)},
                parameters={"base": {}},
            ),
        ),
        "models": (
            ModelPapers(digest=MODEL, record="shard-000/0", at=first.at, manifest=manifest, measurements=measurements),
        ),
        "tests": (Trial(kind="measurement", about=MODEL, data=measurements),),
        "witnessed": True,
    }
    return Evidence(**(fields | changes))


def a_call(sequence: int, *, allowed: bool = True, outcome: Outcome | None = None, **changes: Any) -> OpenedCall:
    """A call at shard-000/SEQUENCE, which ended in the next record if it was allowed. `changes` are fields of Call."""
    fields: dict[str, Any] = {
        "id": f"{sequence:016x}",
        "at": _NOON + sequence * SECOND,
        "actor": "clerk",
        "tenant": "clinic",
        "action": "infer",
        "model": MODEL,
        "purpose": "search" if allowed else None,
    }
    call = Call(**(fields | changes))
    purpose = Finding(rule="base.purpose", ok=False, reason="No purpose was given.")
    return OpenedCall(
        record=f"shard-000/{sequence}",
        call=call,
        model={"name": "minilm", "version": "1", "digest": call.model, "licence": "MIT"},
        policy=POLICY,
        allowed=allowed,
        rules=("base.licence", "base.purpose"),
        against=() if allowed else (purpose,),
        ended=f"shard-000/{sequence + 1}" if allowed else None,
        ended_at=call.at + SECOND if allowed else None,
        outcome=(outcome or Outcome(ok=True, usage={"texts": 1})) if allowed else None,
    )


def told(sequence: int, kind: str, **data: Any) -> Told:
    """A note at shard-000/SEQUENCE, at noon and as many seconds."""
    return Told(record=f"shard-000/{sequence}", at=_NOON + sequence * SECOND, kind=kind, data=data)

"""The one door in front of every model: scan, decide, record, and only then run.

`gate` is made of `decide_and_open` and `close`, which a server's lanes and a stream use directly. A Grant has no
state that could be altered: what it stands for is kept here, and `redeem` is the only way to a payload. That stops
mistakes and makes a bypass a visible act; it does not stop an attacker who runs Python in the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from msgspec import structs

from policies.errors import Denied, Failed, Fault, Ungated
from policies.facts import Call, Decision, Manifest, Obligation, Outcome, Sanitised
from policies.payload import Payload
from policies.privacy import Detector, categories
from policies.privacy.detectors import Spans, look, must_look
from policies.sanitising import Pseudonymise, sanitised, undone

__all__ = ["Grant", "Ledger", "Policy", "charge", "close", "covers", "decide_and_open", "gate", "note", "redeem"]

T = TypeVar("T")


class Policy(Protocol):
    """A policy in force. `digest` identifies its text and parameters."""

    @property
    def digest(self) -> str: ...
    def decide(self, model: Manifest, call: Call) -> Decision: ...


class Ledger(Protocol):
    """Where calls are recorded. Each method returns only when the record is written, and raises when it cannot be.

    `sealed` is whether what is recorded can be read by auditors only; `opened` gives what the later records of the call
    refer to; what `closed` gives shows that the call is on record.
    """

    @property
    def sealed(self) -> bool: ...
    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> Any: ...
    def noted(self, entry: Any, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None: ...
    def closed(self, entry: Any, outcome: Outcome) -> Any: ...


class Grant:
    """A ticket for one recorded, allowed call. Made by the gate only; a foreign one is not honoured."""

    __slots__ = ("__weakref__",)

    @property
    def payload(self) -> Payload:
        """The one payload that was scanned, decided on and recorded."""
        return _issue(self).payload

    @property
    def call(self) -> Call:
        return _issue(self).call

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """What was done to the payload, and what the answer has to carry."""
        return _issue(self).obligations

    @property
    def usage(self) -> dict[str, int]:
        """What was charged to the call so far."""
        return dict(_issue(self).usage)


class _Issue:
    """What a grant stands for."""

    def __init__(self, ledger: Ledger, entry: object, call: Call, decision: Decision, payload: Payload) -> None:
        self.ledger = ledger
        self.entry = entry
        self.call = call
        self.policy = decision.policy
        self.obligations = decision.obligations
        self.payload = payload
        self.covered = {call.model}
        # the steps of a compression touch the parent and what they derive from it many times under one grant
        self.reusable = call.action in ("compress", "train")
        self.spent = False
        self.usage: dict[str, int] = {}


_issues: WeakKeyDictionary[Grant, _Issue] = WeakKeyDictionary()
_lock = Lock()


def gate(
    policy: Policy,
    model: Manifest,
    call: Call,
    payload: Payload,
    ledger: Ledger,
    work: Callable[[Grant], T],
    detectors: Sequence[Detector] = (),
    pseudonymise: Pseudonymise | None = None,
) -> T:
    """Run `work` under a recorded grant and record how it ended. Raises Denied when the policy refuses.

    No record, no run; no record of the outcome, no answer.
    """
    grant = decide_and_open(policy, model, call, payload, ledger, detectors, pseudonymise)
    try:
        result = work(grant)
    except BaseException as error:
        close(grant, error)
        raise
    close(grant)
    return result


def decide_and_open(
    policy: Policy,
    model: Manifest,
    call: Call,
    payload: Payload,
    ledger: Ledger,
    detectors: Sequence[Detector] = (),
    pseudonymise: Pseudonymise | None = None,
) -> Grant:
    """Scan the payload, decide, and record the decision. Raises Denied, after the refusal has been recorded.

    Where nothing refuses but rules that give way to a payload without personal data, such a payload takes the place of
    the one that came, and is decided on anew: from there on there is no other one, and detectors look at no other.
    `pseudonymise` makes the pseudonyms of the call's subject.

    The payload of a refused call is not recorded: there is no ground on which it could be kept. Nor is that of a
    scan, which stands with the call that it was made for, if that one is allowed. Raises Ungated where the detector
    that the call names is missing, and where no rule refuses a call without the usage grant that it needs.
    """
    if call.model != model.digest:
        raise Ungated("grant_other_model", "the call names another model than the one it was brought to")
    must_look(detectors, call)
    found = categories(payload.texts())
    asked = structs.replace(call, data=call.data | found, sealed=ledger.sealed, sanitised=None)
    decision = _decided(policy, model, asked)
    kind = undone(decision, asked)
    clean = None if kind is None else sanitised(kind, payload, pseudonymise)
    if kind is not None and clean is not None:
        payload = clean
        # what has a pseudonym stays personal data
        data = call.data if kind == "redact" else asked.data
        asked = structs.replace(asked, data=data, sanitised=Sanitised(kind=kind, data=found))
        decision = _decided(policy, model, asked)
    if detectors and decision.allowed:
        # what is refused as it is need not be looked at
        asked, _ = _looked(detectors, tuple(payload.texts()), asked)
        decision = _decided(policy, model, asked)
        if asked.unseen and decision.allowed:
            raise Ungated("detector_missing", "the detector could not look, and no rule of the policy refuses that")
    if decision.allowed and undone(decision, asked):
        raise Ungated("grant_outdated", "the decision asks for something that was not done to the payload")
    if decision.allowed and call.metered is not None and call.metered.state != "open":
        raise Ungated("usage_grant_unruled", "the call has no open usage grant, and no rule of the policy refuses that")
    if not decision.allowed:
        entry = ledger.opened(asked, model, decision, Payload(value=None))
        failing = [finding for finding in decision.findings if not finding.ok]
        raise Denied(decision.findings, call.id, "refused: " + "; ".join(f.reason for f in failing), entry)
    entry = ledger.opened(asked, model, decision, Payload(value=None) if call.action == "scan" else payload)
    grant = Grant()
    with _lock:
        _issues[grant] = _Issue(ledger, entry, asked, decision, payload)
    return grant


def _decided(policy: Policy, model: Manifest, call: Call) -> Decision:
    decision = policy.decide(model, call)
    if decision.policy != policy.digest or not decision.findings:
        raise Ungated("grant_outdated", "the decision was not made by the policy in force")
    return decision


def _looked(detectors: Sequence[Detector], texts: Sequence[str], call: Call) -> tuple[Call, Spans]:
    """The call with what the detectors found, and where they found it. Raises Failed where nothing can be recorded."""
    try:
        spans = look(detectors, texts, call)
    except Failed:
        raise
    except Exception:  # noqa: BLE001 - whatever a model does: what was not looked at does not count as clean
        return structs.replace(call, unseen=True), {}
    found = frozenset(one.category for here in spans.values() for one in here)
    return structs.replace(call, detected=found), spans


def redeem(grant: Grant, digest: str, in_force: str) -> Payload:
    """Hand out the payload to the runtime, which calls this first. `in_force` is the digest of the policy now in force.

    Raises Ungated when there is no such grant, or it is spent, for another model, or older than the policy in force.
    """
    with _lock:
        issue = _issue(grant)
        if digest not in issue.covered:
            raise Ungated("grant_other_model", f"the grant does not cover the model {digest[:16]}")
        if in_force != issue.policy:
            raise Ungated("grant_outdated", "the policy changed after the grant was given")
        if issue.spent:
            raise Ungated("grant_spent", "the grant was used already")
        issue.spent = not issue.reusable
        return issue.payload


def covers(grant: Grant, digest: str) -> None:
    """Let a grant for compress or train also cover `digest`, which was derived under it. Raises Ungated for others."""
    issue = _issue(grant)
    if not issue.reusable:
        raise Ungated("grant_other_model", f"a grant to {issue.call.action} covers one model only")
    issue.covered.add(digest)


def charge(grant: Grant, **usage: int) -> None:
    """Add what a run used (tokens, texts) to the outcome that will be recorded."""
    issue = _issue(grant)
    for unit, amount in usage.items():
        issue.usage[unit] = issue.usage.get(unit, 0) + amount


def note(grant: Grant, kind: str, data: dict[str, Any], payload: Payload) -> None:
    """Record something that belongs to an open call: `data` as metadata, which evidence discloses, and what was said
    as a payload, which it never does. Raises what the ledger raises."""
    issue = _issue(grant)
    issue.ledger.noted(issue.entry, kind, data, payload)


def close(grant: Grant, error: BaseException | None = None) -> Any:
    """Record how the call ended; the grant is worth nothing afterwards. Returns what the ledger gives."""
    with _lock:
        issue = _issue(grant)
        del _issues[grant]
    if error is None:
        outcome = Outcome(ok=True, usage=issue.usage)
    else:
        outcome = Outcome(ok=False, code=error.code if isinstance(error, Fault) else "internal", usage=issue.usage)
    return issue.ledger.closed(issue.entry, outcome)


def _issue(grant: Grant) -> _Issue:
    issue = _issues.get(grant) if isinstance(grant, Grant) else None
    if issue is None:
        raise Ungated("grant_missing", "there is no open grant for this run")
    return issue

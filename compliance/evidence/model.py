"""All that a report and a control may see, as frozen values: what a verified evidence bundle says of one period.

    Evidence
      box          whose journal it is: identity, root key, and what the box says of itself (`declared`, not proved)
      period       what was asked for (`since`, `until`); `spans` says which leaves that became, shard by shard
      spans        (Span) the leaves from one signed head to another; all counts are over them
      heads        (SignedHead) the signed heads in the bundle, with their cumulative counters
      keys         (DayKey) the day keys that the root certified, and which of them it revoked
      auditors     fingerprints of those to whom records of the period were sealed
      calls        (OpenedCall) every call whose record could be opened, with its outcome where it has one
      notes        (Told) every other opened record of the period: erasures, holds, consents, reads, loads ...
      earlier      (Told) records from before the period that still stood in it, each proved under the first head
      policies     (PolicyText) the text and the parameters behind each policy digest that a call names
      models       (ModelPapers) manifest, lineage, recipe and measurements of the models that were made ready
      grants       (UsageGrant) the usage grants of the box, as their issuers signed them
      tests        (Trial) measurements of models, cases of policies, and proofs of a policy's claims
      unread       (Unread) what could not be opened, and why
      witnessed    whether a head from outside the bundle was compared; without one, say "unwitnessed"

    evidence.told("erased", "retained")     notes and earlier records of these kinds, in order
    evidence.erasures, .consents, .declarations, .holds, .overrides, .loads      the same, by what they are about

The subject of a call stands here under a pseudonym, and payloads stand nowhere. `calls` may be gone over as often as
wanted, and has a length; it is not indexed, since of a large bundle it is read again from the disk. It gives calls in
the order in which they ended, shard by shard, then those that have no outcome. A check takes Evidence and nothing else.
Tests make one with `tests.evidences.evidence`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any, Literal

from msgspec import Struct

from compliance.state.grants.terms import Terms
from policies.facts import Call, Finding, Obligation, Outcome, Purpose

__all__ = [
    "Box",
    "DayKey",
    "Evidence",
    "ModelPapers",
    "OpenedCall",
    "Period",
    "PolicyText",
    "SignedHead",
    "Span",
    "Told",
    "Trial",
    "Unread",
    "UsageGrant",
]


class Box(Struct, frozen=True, kw_only=True):
    """`journal` is the identity (32 hexadecimal digits), `root` the key (`ed25519:...`), `made` when (ISO 8601).

    `declared` is what whoever made the bundle took from the settings (`name`, `tenant`, `region` ...): nothing proves
    it.
    """

    journal: str
    root: str
    made: str
    declared: dict[str, str] = {}


class Period(Struct, frozen=True, kw_only=True):
    """What was asked for, in nanoseconds since 1970: from `since` until before `until`. It is rounded out to heads."""

    since: int
    until: int


class SignedHead(Struct, frozen=True, kw_only=True):
    """A head of a shard. `root` is in base64, `at` in ns; the counters are cumulative since the journal was made."""

    shard: str
    size: int
    root: str
    at: int
    allowed: int = 0
    refused: int = 0
    closed: int = 0
    destroyed: int = 0
    rules: dict[str, int] = {}
    usage: dict[str, int] = {}


class Span(Struct, frozen=True, kw_only=True):
    """The leaves of a shard that are in the bundle: those under `last` that were not under `first`."""

    shard: str
    first: SignedHead
    last: SignedHead

    @property
    def records(self) -> int:
        return self.last.size - self.first.size


class DayKey(Struct, frozen=True, kw_only=True):
    """A key that may sign on one day (UTC); `revoked` is from when on it may not (ns)."""

    key: str
    day: date
    revoked: int | None = None


class OpenedCall(Struct, frozen=True, kw_only=True):
    """A call and the decision on it, at `record` (such as shard-000/17).

    `model` holds name, version, digest and licence as they were at the time; `policy` is a digest in `policies`;
    `against` are the findings of rules that refused. `outcome` is how it ended at `ended` (a record) and `ended_at`
    (ns), None for a refusal, for one without an outcome, and where the outcome cannot be read.
    """

    record: str
    call: Call
    model: dict[str, str]
    policy: str
    allowed: bool
    rules: tuple[str, ...] = ()
    against: tuple[Finding, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    ended: str | None = None
    ended_at: int | None = None
    outcome: Outcome | None = None


class Told(Struct, frozen=True, kw_only=True):
    """What the journal told beside calls: `kind` and `data` as docs/formats.md has them, `of` a call it belongs to."""

    record: str
    at: int
    kind: str
    data: dict[str, Any]
    of: str | None = None


class PolicyText(Struct, frozen=True, kw_only=True):
    """What a policy was made of. `texts` are by file, `parameters` by pack. `digest` is SHA-256 over all of it."""

    digest: str
    texts: dict[str, str]
    purposes: dict[str, Purpose]
    parameters: dict[str, dict[str, Any]]


class ModelPapers(Struct, frozen=True, kw_only=True):
    """The papers of a model as the journal told them when it was made ready, at `record` and `at` (ns)."""

    digest: str
    record: str
    at: int
    manifest: dict[str, Any]
    measurements: dict[str, Any]


class UsageGrant(Struct, frozen=True, kw_only=True):
    """The terms, and the key (`ed25519:...`) whose signature on them holds; whether it is trusted is not said here."""

    terms: Terms
    key: str


class Trial(Struct, frozen=True, kw_only=True):
    """`kind` "measurement": `data` are the measurements of a model, `about` its digest; "policy_cases": `data` has by
    file of cases its SHA-256 and how many `passed` (all of them) when the policy of the digest `about` took the place
    of another; "policy_proof": `data` is the signed statement that the claims hold, `about` the digest of the policy.
    """

    kind: Literal["measurement", "policy_cases", "policy_proof"]
    about: str
    data: dict[str, Any]


class Unread(Struct, frozen=True, kw_only=True):
    """Records that are sealed still, by their public kind. `why` is what whoever made the bundle says of it."""

    why: Literal["erased", "other_auditor", "not_released"]
    allowed: int = 0
    refused: int = 0
    noted: int = 0
    closed: int = 0

    @property
    def records(self) -> int:
        return self.allowed + self.refused + self.noted + self.closed


class Evidence(Struct, frozen=True, kw_only=True):
    """What a verified bundle says. `digest` is the SHA-256 of its file in hexadecimal. See the page at the top."""

    digest: str
    box: Box
    period: Period
    spans: tuple[Span, ...]
    heads: tuple[SignedHead, ...] = ()
    keys: tuple[DayKey, ...] = ()
    auditors: tuple[str, ...] = ()
    calls: Collection[OpenedCall] = ()
    notes: tuple[Told, ...] = ()
    earlier: tuple[Told, ...] = ()
    policies: tuple[PolicyText, ...] = ()
    models: tuple[ModelPapers, ...] = ()
    grants: tuple[UsageGrant, ...] = ()
    tests: tuple[Trial, ...] = ()
    unread: tuple[Unread, ...] = ()
    gaps: int = 0
    witnessed: bool = False

    def told(self, *kinds: str) -> tuple[Told, ...]:
        """What was told of these kinds, from before the period first."""
        return tuple(one for one in (*self.earlier, *self.notes) if one.kind in kinds)

    @property
    def erasures(self) -> tuple[Told, ...]:
        """Subjects that were erased, and rows whose time was over."""
        return self.told("erased", "retained")

    @property
    def consents(self) -> tuple[Told, ...]:
        return self.told("consent_given", "consent_withdrawn")

    @property
    def declarations(self) -> tuple[Told, ...]:
        """Statements of the operator that were put in force, or ended."""
        return tuple(one for one in (*self.earlier, *self.notes) if one.kind.startswith("declaration_"))

    @property
    def holds(self) -> tuple[Told, ...]:
        return self.told("held", "hold_released")

    @property
    def overrides(self) -> tuple[Told, ...]:
        return self.told("override_asked", "override_opened", "override_ended")

    @property
    def loads(self) -> tuple[Told, ...]:
        """Models that were made ready, and let go."""
        return self.told("loaded", "unloaded")

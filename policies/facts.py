"""All that a rule may see, as frozen values.

If a rule needs something, it is a field here: no rule reads a clock, a counter, a file or a setting by itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "Action",
    "Ancestor",
    "Basis",
    "Call",
    "Consented",
    "Decision",
    "Declared",
    "Declaring",
    "Finding",
    "Forbidden",
    "Manifest",
    "Metered",
    "Obligation",
    "Outcome",
    "Purpose",
    "Sanitised",
    "Standing",
    "Stated",
    "Tensor",
    "Use",
]

Action = Literal["infer", "scan", "measure", "compress", "export", "train"]
# GDPR Art. 6(1)(a) to (f)
Basis = Literal["consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"]

# what is done to a payload before it is decided on anew, and what an answer has to carry
Sanitising = Literal["redact", "pseudonymise"]
Carried = Literal["attribution", "ai_notice"]
# how what a model writes is looked at: what is found is counted, or masked, or ends the answer
Overseen = Literal["note_output", "redact_output", "stop_output"]

# uses that licences forbid, as far as a rule can tell them
Forbidden = Literal["automated_decisions", "law_enforcement", "medical_advice", "military"]
# and what some are for alone
Use = Forbidden | Literal["research"]

# what Cedar's Long holds, without the negative half
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Tensor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input or output of a model. A dimension that varies is given by name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Ancestor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that a model was made from: a model, one merged into it, an adapter of it, or data that steps or
    training learned from. `digest` is the SHA-256 of its bytes in hexadecimal, `licence` an SPDX expression."""

    name: str
    digest: str
    licence: str
    relation: Literal["parent", "merged", "adapter", "calibration", "training"]


class Stated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That who pressed a model stated the licence of its source, whose papers name none: the SPDX id, and from when
    until before when that counts (nanoseconds since 1970, both at midnight UTC)."""

    licence: str
    starts: Count
    ends: Count


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is: its identity (`digest`), what it takes and gives, and under which terms it came.

    `licence` is an SPDX expression over all that it was made from; `purposes`, where not empty, are the only ones that
    its maker allows; `lineage` lists the ancestors, the nearest first; `stated` is there where the licence of the
    source is what somebody stated, and not what its papers say.
    """

    format: int
    name: str
    version: str
    digest: str
    task: str
    licence: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    purposes: tuple[str, ...] = ()
    lineage: tuple[Ancestor, ...] = ()
    stated: Stated | UnsetType = UNSET


# the name of a category of personal data, as calls and purposes declare it
CATEGORY = re.compile("[a-z][a-z_]{0,31}")


class Purpose(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A purpose as the settings declare it. Commercial unless it says otherwise, so that silence never widens.

    `recipients` are those to whom answers are passed on; `data` are categories of personal data that every call for
    the purpose is taken to carry, such as "health" where no scanner can tell. `uses` says which of those uses it is
    that licences ask about; left out, that is not known, and an empty list says that it is none of them.
    """

    bases: frozenset[Basis]
    commercial: bool = True
    retain_days: int
    recipients: tuple[str, ...] = ()
    data: frozenset[str] = frozenset()
    uses: frozenset[Use] | UnsetType = UNSET


class Consented(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consent that stands at the time of a call: for its purpose and its subject, not withdrawn, not run out.

    `explicit`: given in express words for this purpose alone (GDPR Art. 9(2)(a), PIPL Art. 29); `guardian`: by who has
    parental responsibility (GDPR Art. 8(1), PIPL Art. 31).
    """

    receipt: str
    explicit: bool = False
    guardian: bool = False


class Override(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An override that stands at the time of a call: under what name it was opened, and by whom, at least two persons.

    It opens what a pack says it may, and nothing else.
    """

    id: str
    name: str
    approvers: frozenset[str]


# how it stands with the usage grants for a model that needs one: "open" alone lets a call run
Standing = Literal["open", "none", "issuer", "early", "over", "revoked", "spent", "held"]


class Metered(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Under which usage grant a call to a model runs that needs one, or why under none.

    `state`: "open"; there is "none"; its issuer is not trusted; it is too "early", or "over"; it is "revoked"; it is
    "spent"; what is left is "held" by calls that run. Of several grants, the nearest to open. `band` is that of
    its tariff, and `lease` what is held for this call.
    """

    state: Standing
    grant: str | None = None
    holder: str | None = None
    band: str | None = None
    lease: str | None = None


# how it stands with the declaration of who runs a box: only what an "open" one says counts
Declaring = Literal["open", "forged", "foreign", "issuer", "early", "over"]


class Declared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What who runs the box declares of itself, since no box can see it, or why that does not count.

    `state`: "open"; it is "forged", or for another box; its signer ("issuer") is not trusted; it is too "early", or
    "over". The others are there in an open one alone: `domicile` as a country code (ISO 3166-1), `users` in a month,
    `revenue` in US dollars a year, and whether models are used for commerce.
    """

    state: Declaring
    domicile: str | None = None
    users: Count | None = None
    revenue: Count | None = None
    commercial: bool | None = None


class Sanitised(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gate did to a payload before it was decided on: personal data was masked ("redact"), or replaced by
    pseudonyms. `data` holds the categories that were found and taken out."""

    kind: Sanitising
    data: frozenset[str]


class Call(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One use of a model, as it was asked for.

    `at` is in nanoseconds since 1970, never before the last head of the journal; `data` holds the categories of
    personal data found in the payload or declared by the caller; `usage` counts the calls already made under the
    caller's grant, and `quota` how many it allows. `consent` is the receipt that the caller names and `consented` what
    the store of consents says; `region` is where the data belongs and `host` where this box stands; `signer` signed the
    model, and its signature and every byte were checked; `sealed`: the journal encrypts what it records;
    `override` is what two persons opened and the caller names; `sanitised` is what was done to the payload since a rule
    asked for it. What was redacted is no longer in `data`, what has a pseudonym is (GDPR Art. 4(5), recital 26).

    `metered` is there for a model that runs under a usage grant only. `usage` and `quota` are those of the caller.

    `declared` is what who runs the box declares; `served`: others ask for it over a network; `noticed`: the NOTICE file
    of the model has the words that its licence asks for.

    `detector` is the digest of the model that must look at the payload, `detected` the categories that it found, and
    `unseen` says that it could not look. A call of the action "scan" names the call whose payload it looks at as
    `scan_of`.
    """

    id: str
    at: Count
    actor: str
    tenant: str
    action: Action
    model: str
    purpose: str | None = None
    basis: str | None = None
    consent: str | None = None
    subject: str | None = None
    region: str | None = None
    data: frozenset[str] = frozenset()
    retain_days: Count = 0
    usage: Count = 0
    quota: Count | None = None
    consented: Consented | None = None
    host: str | None = None
    signer: str | None = None
    sealed: bool = False
    override: Override | None = None
    detector: str | None = None
    detected: frozenset[str] = frozenset()
    unseen: bool = False
    scan_of: str | None = None
    sanitised: Sanitised | None = None
    metered: Metered | None = None
    declared: Declared | None = None
    served: bool = False
    noticed: bool = False


class Finding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule's answer. `reason` is the rule's own sentence, or says why the rule could not be evaluated."""

    rule: str
    ok: bool
    reason: str


class Obligation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule asks for to give way.

    Of an allowed call: what was done to its payload, where `text` names the categories that were taken out, and what
    its answer has to carry, word for word, or how what the model writes is looked at. Of a refused one: what would have
    to be done to its payload.
    """

    kind: Sanitising | Carried | Overseen
    text: str = ""


class Decision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to a call. `policy` is the digest of the text and the parameters in force."""

    allowed: bool
    findings: tuple[Finding, ...]
    policy: str
    obligations: tuple[Obligation, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an allowed call ended: the code of its fault if it failed, and what it used (`tokens`, `texts` ...)."""

    ok: bool
    code: str | None = None
    usage: dict[str, int] = {}

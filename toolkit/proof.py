"""Whether the claims of a policy are proved: by the solver here, or by a statement of a trusted signer beside it.

The statement (policy.proof beside the settings, docs/formats.md) is signed with Ed25519. It counts for one digest of a
policy and for these bytes of claims.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from compliance.crypto import Signer, Unauthentic, sha256, verify
from compliance.keys import from_text, to_text
from policies.cedar import Engine, PolicyError
from policies.cedar.claims import Claims
from toolkit.extras import needs
from toolkit.policy import Policy
from toolkit.settings import Settings

__all__ = ["NAME", "must_be_proved", "must_hold", "signed"]

NAME = "policy.proof"
MAX_FILE = 64_000
_LABEL = b"sealpress.policy-proof/1\x00"


class _Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed: the digest of the policy, SHA-256 of each file of claims, and the time (ns since 1970)."""

    format: Literal[1] = 1
    policy: str
    claims: dict[str, str]
    at: int


class _Signed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    statement: bytes
    key: str
    signature: bytes


def signed(policy: Policy, engine: Engine, signer: Signer) -> bytes:
    """A statement that the claims hold; prove them first."""
    statement = msgspec.json.encode(
        _Statement(policy=engine.digest, claims=_digests(policy), at=time.time_ns()), order="deterministic"
    )
    value = _Signed(statement=statement, key=to_text(signer.public), signature=signer.sign(_LABEL + statement))
    return msgspec.json.encode(value) + b"\n"


def must_hold(
    policy: Policy, engine: Engine, folder: Path, settings: Settings, *, prove: bool = False
) -> dict[str, int]:
    """Return how many cases there are, by the file that they stand in, when every case of the user's own comes out as
    it must and, where the settings in force or `prove` ask for it, every claim is proved: what a box asks of a
    policy before it puts it in force.

    Raises PolicyError: policy_untested, policy_cases, policy_unproved; MissingExtra.
    """
    results = policy.tried()
    failed = [f"{file}: {one.name}" for file, tried in results.items() for one in tried if not one.ok]
    if failed:
        raise PolicyError("policy_untested", f"{len(failed)} cases come out otherwise, the first is {failed[0]}")
    if prove or settings.policy.prove:
        must_be_proved(policy, engine, folder / NAME, settings.trust.of("policies", time.time_ns()))
    return {file: len(tried) for file, tried in results.items()}


def must_be_proved(policy: Policy, engine: Engine, statement: Path, trusted: Collection[str]) -> None:
    """Return when there are claims and all of them hold.

    Raises PolicyError: policy_unproved, MissingExtra where no statement counts and the solver is not installed.
    """
    claims = {name: Claims.read(name, data).claim for name, data in policy.claims.items()}
    if not any(claims.values()):
        raise PolicyError("policy_unproved", "the settings ask for a proof, and there is no claim to prove")
    if _stated(policy, engine, statement, trusted):
        return
    with needs("prove"):
        from policies.cedar.proof import proved
    rules, schema = engine.rules, policy.schema.decode()
    for name, one in claims.items():
        failed = [found.name for found in proved(rules, schema, one, policy.filled) if not found.holds]
        if failed:
            raise PolicyError("policy_unproved", f"{name}: this claim does not hold: {failed[0][:200]}")


def _stated(policy: Policy, engine: Engine, path: Path, trusted: Collection[str]) -> bool:
    """Whether a trusted signer states it of this policy; where none does, the solver has the word."""
    try:
        with path.open("rb") as file:
            found = msgspec.json.decode(file.read(MAX_FILE), type=_Signed)
        if found.key not in trusted:
            return False
        verify(from_text(found.key), found.signature, _LABEL + found.statement)
        statement = msgspec.json.decode(found.statement, type=_Statement)
    except (OSError, msgspec.MsgspecError, Unauthentic):
        return False
    return statement.policy == engine.digest and statement.claims == _digests(policy)


def _digests(policy: Policy) -> dict[str, str]:
    return {name: sha256(data).hex() for name, data in sorted(policy.claims.items())}

"""What can be wrong with a sealed bundle, or with who wants to open it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["SealedError"]


class SealedError(Refused):
    """A sealed bundle that is broken or altered, or that does not open here, or not for this."""

    hints: ClassVar[Mapping[str, str]] = {
        "sealed_malformed": "Copy the file again from where it was sealed: it is no sealed bundle of format 1.",
        "sealed_cut": "Copy the file again from where it was sealed: it has not the length that it was written with.",
        "sealed_altered": "Copy the file again from where it was sealed: it is not what was written there.",
        "sealed_foreign": "Have it sealed to this box (`sealpress keys sealing show`), or import the grant that it is "
        "sealed to.",
        "sealed_grant_early": "Wait for the first day of the grant that it is sealed to: `sealpress grant show`.",
        "sealed_grant_issuer": "The issuer of the grant is not trusted any more: `sealpress trust list`.",
        "sealed_grant_model": "Ask the issuer for a grant that names this model, and have it sealed to that.",
        "sealed_grant_over": "Ask the issuer for a new grant, and have it sealed to that: this one is over.",
        "sealed_grant_revoked": "Ask the issuer for a new grant, and have it sealed to that: this one was revoked.",
        "sealed_grant_spent": "Ask the issuer for a new grant, and have it sealed to that: this one is used up.",
        "sealed_grant_keyless": "Have the grant issued with --sealing-key, which is the key of the holder's box.",
        "sealed_recipients": "Seal to at least one and at most 64 keys and grants, and to none of them twice.",
        "sealed_closed": "Do it with the bundle that was sealed: a sealed one is opened to run, and for nothing else.",
    }

"""Bundles that are sealed to a usage grant: a key pair of the grant's own, whose private half the grant carries, sealed
to the box of its holder. Who has the box without the grant, or the grant without the box, opens nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import UNSET

from compliance.crypto import Opener, Sealer, Unauthentic
from compliance.sealed.container import Sealing
from compliance.sealed.errors import SealedError
from compliance.state.grants.meter import Kept
from compliance.state.grants.terms import GrantKey, Terms, covers
from policies.facts import Manifest

__all__ = ["in_force", "key_of", "made_key", "sealing_to"]

_WHY: Mapping[str, tuple[str, str]] = {
    "early": ("sealed_grant_early", "the grant {} has not begun"),
    "over": ("sealed_grant_over", "the grant {} is over"),
    "revoked": ("sealed_grant_revoked", "the grant {} was revoked"),
    "spent": ("sealed_grant_spent", "nothing is left of the grant {}"),
}


def made_key(id_: str, box: str, holder: Sealer) -> GrantKey:
    """A new key for the grant `id_` to a box, whose key is `holder`; its private half is kept nowhere else."""
    pair = Opener.generate()
    return GrantKey(public=pair.public, wrapped=holder.seal(pair.private_bytes(), _info(id_, box)))


def sealing_to(terms: Terms) -> Sealing:
    """A grant as a recipient. Raises SealedError: sealed_grant_keyless; Unauthentic for what is no key."""
    if terms.sealing is UNSET:
        raise SealedError("sealed_grant_keyless", f"the grant {terms.id} carries no key that bundles are sealed to")
    return Sealing(kind="grant", name=terms.id, sealer=Sealer(terms.sealing.public))


def in_force(kept: Sequence[Kept], model: Manifest | None, at: int, issuers: Collection[str]) -> Terms:
    """The first of these grants of a box under which the model may be opened, or stay open where none is given, at the
    time `at` (ns).

    Raises SealedError for the last of them, where none is: sealed_grant_early, sealed_grant_issuer, sealed_grant_model,
    sealed_grant_over, sealed_grant_revoked, sealed_grant_spent; sealed_foreign where there is none at all.
    """
    fault = SealedError("sealed_foreign", "it is sealed to others than this box and the grants that were imported here")
    for one in kept:
        terms, state = one.signed.terms, one.state(at)
        if model is not None and not covers(terms, model.name, model.version, model.digest):
            fault = SealedError("sealed_grant_model", f"the grant {terms.id} is not for {model.name} {model.version}")
        elif one.signed.key not in issuers:
            fault = SealedError("sealed_grant_issuer", f"the issuer of the grant {terms.id} is not trusted with grants")
        elif state == "open":
            return terms
        else:
            code, text = _WHY[state]
            fault = SealedError(code, text.format(terms.id))
    raise fault


def key_of(terms: Terms, box: Opener) -> Opener:
    """The private key of a grant, opened with that of its holder's box.

    Raises SealedError: sealed_grant_keyless; sealed_foreign where it was made for another key.
    """
    if terms.sealing is UNSET:
        raise SealedError("sealed_grant_keyless", f"the grant {terms.id} carries no key that bundles are sealed to")
    try:
        opener = Opener(box.open(terms.sealing.wrapped, _info(terms.id, terms.box)))
    except Unauthentic:
        raise SealedError(
            "sealed_foreign", f"the grant {terms.id} was made for another key than this box has"
        ) from None
    if opener.public != terms.sealing.public:
        raise SealedError("sealed_foreign", f"the grant {terms.id} carries another key than it states")
    return opener


def _info(id_: str, box: str) -> bytes:
    return b"sealpress.grant-key/1\x00%s\x00%s" % (id_.encode(), box.encode())

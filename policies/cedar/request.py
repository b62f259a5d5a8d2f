"""What the rules are asked: a model and a call as entities and context, in the terms of packs/schema.cedarschema.

An attribute that is not known is left out, so that a rule has to test for it with `has`. Compiled rules rely on the
types of the schema, so a fact of another type raises TypeError here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from policies.cedar.packs import Parameters
from policies.cedar.values import Entity, Record
from policies.facts import Action, Call, Consented, Metered, Purpose, Sanitised, Sanitising, Standing
from policies.licences import LicenceError, facts

__all__ = ["ACTIONS", "Purposes", "actor", "context", "model", "parameters"]

ACTIONS: Mapping[str, Entity] = {name: Entity(("Action", name)) for name in get_args(Action)}

_MOST = 2**63 - 1
_NOTHING: frozenset[str] = frozenset()


def actor(name: str, tenant: str) -> Entity:
    return Entity(("Actor", _text(name)), {"name": name, "tenant": _text(tenant)})


def model(digest: str, name: str, task: str, licence: str, purposes: tuple[str, ...]) -> Entity:
    attributes = {
        "name": _text(name),
        "task": _text(task),
        "purposes": frozenset(map(_text, purposes)),
        "licence": _licence(_text(licence)),
    }
    return Entity(("Model", _text(digest)), attributes)


class Purposes:
    """The purposes that the settings declare. Any other counts as commercial and permits no basis."""

    def __init__(self, declared: Mapping[str, Purpose]) -> None:
        self._declared = {name: _purpose(name, purpose, declared=True) for name, purpose in declared.items()}

    def __getitem__(self, name: str) -> Record:
        found = self._declared.get(name)
        if found is None:
            found = _purpose(_text(name), Purpose(bases=frozenset(), retain_days=0), declared=False)
        return found


def parameters(packs: Parameters) -> Record:
    """The parameters of the packs in force, a record for each pack."""
    return Record(
        {
            pack: Record({name: frozenset(one) if isinstance(one, list) else one for name, one in filled.items()})
            for pack, filled in packs.items()
        }
    )


def context(call: Call, purposes: Purposes, parameters: Record) -> dict[str, Any]:
    """The facts of the call, and the parameters of the packs as `packs`. Raises TypeError."""
    made: dict[str, Any] = {
        "at": _count(call.at),
        "data": _categories(call.data),
        "retain_days": _count(call.retain_days),
        "usage": _count(call.usage),
        "sealed": call.sealed is True,
        "detected": _categories(call.detected),
        "unseen": call.unseen is True,
        "obligations": _NOTHING if call.sanitised is None else _done(call.sanitised),
        "packs": parameters,
    }
    if call.purpose is not None:
        made["purpose"] = purposes[call.purpose]
    if call.basis is not None:
        made["basis"] = _text(call.basis)
    if call.consent is not None:
        made["consent"] = _text(call.consent)
    if call.subject is not None:
        made["subject"] = _text(call.subject)
    if call.region is not None:
        made["region"] = _text(call.region)
    if call.host is not None:
        made["host"] = _text(call.host)
    if call.signer is not None:
        made["signer"] = _text(call.signer)
    if call.detector is not None:
        made["detector"] = _text(call.detector)
    if call.quota is not None:
        made["quota"] = _count(call.quota)
    if call.consented is not None:
        made["consented"] = _consented(call.consented)
    if call.override is not None:
        names = frozenset(map(_text, call.override.approvers))
        made["override"] = Record(name=_text(call.override.name), approvers=names)
    if call.metered is not None:
        made["metered"] = _metered(call.metered)
    return made


def _consented(consented: Consented) -> Record:
    return Record(
        receipt=_text(consented.receipt), explicit=consented.explicit is True, guardian=consented.guardian is True
    )


def _metered(metered: Metered) -> Record:
    if metered.state not in get_args(Standing):
        raise TypeError("how it stands with a usage grant is nothing that can be")
    said = {"grant": metered.grant, "holder": metered.holder, "band": metered.band}
    named = {name: _text(text) for name, text in said.items() if text is not None}
    return Record(state=metered.state, **named)


def _done(sanitised: Sanitised) -> frozenset[str]:
    if sanitised.kind not in get_args(Sanitising):
        raise TypeError("what was done to a payload is nothing that can be done")
    return frozenset({sanitised.kind})


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise TypeError("a count is no Long")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("a fact is no String")
    if not value.isascii():
        value.encode()  # half a surrogate is no Unicode, and stands in no record
    return value


@lru_cache(1_024)
def _categories(value: object) -> frozenset[str]:
    if type(value) is not frozenset:
        raise TypeError("a fact is no Set")
    return frozenset(map(_text, value))


def _purpose(name: str, purpose: Purpose, *, declared: bool) -> Record:
    return Record(
        name=name,
        declared=declared,
        commercial=purpose.commercial,
        bases=frozenset(purpose.bases),
        recipients=frozenset(purpose.recipients),
        retain_days=purpose.retain_days,
    )


def _licence(licence: str) -> Record:
    try:
        known = facts(licence)
    except LicenceError:
        return Record(known=False, id=licence)
    said = {
        "commercial": known.commercial,
        "derive": known.derive,
        "share_alike": known.share_alike,
        "attribution": known.attribution,
        "notice_file": known.notice_file,
    }
    return Record({"known": True, "id": licence, **{name: one for name, one in said.items() if one is not None}})

"""What the rules are asked: a model and a call as entities and context, in the terms of packs/schema.cedarschema.

An attribute that is not known is left out, so that a rule has to test for it with `has`. Compiled rules rely on the
types of the schema, so a fact of another type raises TypeError here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from msgspec import UNSET, UnsetType

from policies.cedar.packs import Parameters
from policies.cedar.values import Entity, Record
from policies.facts import (
    Action,
    Call,
    Consented,
    Declared,
    Declaring,
    Metered,
    Purpose,
    Sanitised,
    Sanitising,
    Standing,
    Stated,
)
from policies.licences import Facts, LicenceError, facts
from policies.territories import places

__all__ = ["ACTIONS", "Purposes", "actor", "context", "model", "parameters"]

ACTIONS: Mapping[str, Entity] = {name: Entity(("Action", name)) for name in get_args(Action)}

_MOST = 2**63 - 1
_NOTHING: frozenset[str] = frozenset()
# tasks of models that take nothing but text; any other model counts as one of more than text
_TEXT = frozenset({"feature-extraction", "text-classification", "token-classification", "generate"})


def actor(name: str, tenant: str) -> Entity:
    return Entity(("Actor", _text(name)), {"name": name, "tenant": _text(tenant)})


def model(
    digest: str,
    name: str,
    task: str,
    licence: str,
    purposes: tuple[str, ...],
    stated: Stated | UnsetType = UNSET,
) -> Entity:
    try:
        known = facts(_text(licence))
    except LicenceError:
        known = None
    attributes = {
        "name": _text(name),
        "task": _text(task),
        "modality": "text" if task in _TEXT else "more",
        "purposes": frozenset(map(_text, purposes)),
        "licence": _licence(licence, known),
    }
    terms = None if known is None else _terms(name, task, known, stated)
    if terms is not None:
        attributes["terms"] = terms
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
        "served": call.served is True,
        "noticed": call.noticed is True,
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
        if located := places(call.host):
            made["located"] = located
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
    if call.declared is not None:
        made["declared"] = _declared(call.declared)
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


@lru_cache(256)
def _declared(declared: Declared) -> Record:
    """What counts of a declaration: how it stands, and what an open one says. A domicile that is no country's code is
    in no place."""
    if declared.state not in get_args(Declaring):
        raise TypeError("how it stands with a declaration is nothing that can be")
    made: dict[str, Any] = {"state": declared.state}
    if declared.state == "open":
        if declared.domicile is not None and (located := places(_text(declared.domicile))):
            made["places"] = located
        counts = {"users": declared.users, "revenue": declared.revenue}
        made |= {name: _count(count) for name, count in counts.items() if count is not None}
        if declared.commercial is not None:
            made["commercial"] = declared.commercial is not False
    return Record(made)


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
    made = Record(
        name=name,
        declared=declared,
        commercial=purpose.commercial,
        bases=frozenset(purpose.bases),
        recipients=frozenset(purpose.recipients),
        retain_days=purpose.retain_days,
    )
    if purpose.uses is not UNSET:
        made["uses"] = frozenset(purpose.uses)
    return made


def _licence(licence: str, known: Facts | None) -> Record:
    if known is None:
        return Record(known=False, id=licence)
    said = {
        "commercial": known.commercial,
        "derive": known.derive,
        "share_alike": known.share_alike,
        "attribution": known.attribution,
        "notice_file": known.notice_file,
    }
    return Record({"known": True, "id": licence, **{name: one for name, one in said.items() if one is not None}})


def _terms(name: str, task: str, known: Facts, stated: Stated | UnsetType) -> Record | None:
    """What a licence asks beside commerce, derivatives and attribution; None where that is nothing, as with most."""
    term = None if stated is UNSET else Record(starts=_count(stated.starts), ends=_count(stated.ends))
    flags = {"research": known.research, "hosted": known.hosted, "no_hosting": known.no_hosting}
    sets = {"territories": known.territories, "multimodal": known.multimodal, "forbidden": known.forbidden}
    limits = {"users": known.users, "revenue": known.revenue}
    more = bool(known.multimodal) and task not in _TEXT
    holder = more or bool(known.territories) or known.commercial is not True or any(limits.values())
    copies = (known.notices, known.prefixes)
    if term is None and not holder and not any((*flags.values(), *sets.values(), *copies)):
        return None
    made = Record(holder=holder)
    made |= {flag: value is True for flag, value in flags.items()}
    made |= {one: frozenset(values) for one, values in sets.items()}
    made |= {limit: value for limit, value in limits.items() if value is not None}
    made["notices"] = bool(known.notices)
    made["named"] = all(name.startswith(prefix) for prefix in known.prefixes)
    if term is not None:
        made["term"] = term
    return made

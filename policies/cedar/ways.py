"""What would have to change for a refused call to be allowed: the fewest facts that, taken otherwise, do it.

No rule is read for this: changed calls are decided as calls are, so that no answer differs from the policy's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any, get_args

from msgspec import UNSET, Struct, structs

from policies.cedar.engine import Engine
from policies.facts import Basis, Call, Consented, Declared, Manifest, Override
from policies.licences import LicenceError, facts
from policies.territories import COUNTRIES, places

__all__ = ["Change", "Way", "ways"]

MAX_CHANGES = 3
MAX_WAYS = 12


class Change(Struct, frozen=True, kw_only=True):
    """One fact, and how it would have to be, for a person."""

    fact: str
    says: str


Way = tuple[Change, ...]
_Changed = tuple[Change, dict[str, Any], dict[str, Any]]  # what it is called, and the fields of call and model


def ways(engine: Engine, model: Manifest, call: Call) -> list[Way]:
    """The smallest sets of changes with which the call is allowed, at most MAX_WAYS of MAX_CHANGES; none where there
    are none."""
    by_fact: dict[str, list[_Changed]] = {}
    for change in _changes(engine, model, call):
        by_fact.setdefault(change[0].fact, []).append(change)
    for size in range(1, MAX_CHANGES + 1):
        found = [
            tuple(change for change, _, _ in chosen)
            for facts in combinations(by_fact, size)
            for chosen in product(*(by_fact[fact] for fact in facts))
            if _allowed(engine, model, call, chosen)
        ]
        if found:
            return found[:MAX_WAYS]
    return []


def _allowed(engine: Engine, model: Manifest, call: Call, chosen: tuple[_Changed, ...]) -> bool:
    for _, of_call, of_model in chosen:
        call, model = structs.replace(call, **of_call), structs.replace(model, **of_model)
    purpose = engine.purposes.get(call.purpose or "")
    if purpose is not None and any("purpose" in of_call for _, of_call, _ in chosen):
        call = structs.replace(call, retain_days=purpose.retain_days, data=call.data | purpose.data)
    return engine.decide(model, call).allowed


def _changes(engine: Engine, model: Manifest, call: Call) -> Iterator[_Changed]:
    def change(fact: str, says: str, **fields: Any) -> _Changed:
        return Change(fact=fact, says=says), fields, {}

    for purpose in engine.purposes:
        if purpose != call.purpose:
            yield change("purpose", f"the purpose is {purpose}", purpose=purpose)
    for basis in get_args(Basis):
        if basis != call.basis:
            yield change("basis", f"the legal basis is {basis}", basis=basis)
    if call.basis is not None:
        yield change("basis", "no legal basis is named", basis=None)
    for explicit, guardian in product((False, True), repeat=2):
        kind = " and ".join(kind for kind, is_ in (("explicit", explicit), ("by a guardian", guardian)) if is_)
        consented = Consented(receipt="-", explicit=explicit, guardian=guardian)
        if call.consented is None or structs.replace(call.consented, receipt="-") != consented:
            says = f"consent is on record{f', {kind}' if kind else ''}"
            yield change("consent", says, consented=consented)
    if call.subject is None:
        yield change("subject", "the person is named", subject="-")
    if call.data:
        yield change("data", f"the input holds none of: {', '.join(sorted(call.data))}", data=frozenset())
        for category in sorted(call.data) if len(call.data) > 1 else ():
            yield change("data", f"the input holds no {category}", data=call.data - {category})
    if call.detected:
        says = f"the detector finds none of: {', '.join(sorted(call.detected))}"
        yield change("detected", says, detected=frozenset())
    if call.unseen:
        yield change("detected", "the detector looks at the input", unseen=False)
    if call.region is not None and call.host != call.region:
        yield change("host", f"the box stands in {call.region}", host=call.region)
    if call.signer is None:
        yield change("signer", "a trusted signer signed the model", signer="-")
    if not call.sealed:
        yield change("sealed", "the journal is sealed", sealed=True)
    for name in sorted(engine.overrides):
        if call.override is None or call.override.name != name:
            opened = Override(id="-", name=name, approvers=frozenset({"-", "--"}))
            yield change("override", f"two persons opened the override {name}", override=opened)
    if call.quota is not None and call.usage >= call.quota:
        yield change("quota", "the grant has calls left", usage=0, quota=1)
    if call.metered is not None and call.metered.state != "open":
        covered = structs.replace(call.metered, state="open")
        yield change("metered", "a usage grant for this model is open", metered=covered)
    elsewhere = _elsewhere(model)
    within = Declared(state="open", domicile=elsewhere, users=0, revenue=0, commercial=False)
    if call.declared != within:
        yield change("declared", "a declaration counts that is within what the licence asks", declared=within)
    if call.host != elsewhere:
        yield change("host", "the box stands where the licence grants something", host=elsewhere)
    if call.served:
        yield change("served", "the model is embedded, and not served", served=False)
    if not call.noticed:
        yield change("noticed", "the NOTICE file has the words that the licence asks for", noticed=True)
    for days in (0, 10 * 366):
        if days != call.retain_days:
            says = f"records are kept for {'no' if days == 0 else 'more'} days"
            yield change("retention", says, retain_days=days)
    if model.licence != "MIT":
        yield Change(fact="licence", says="the model has a permissive licence"), {}, {"licence": "MIT"}
    if model.stated is not UNSET:
        yield Change(fact="stated", says="the papers of the source name the licence"), {}, {"stated": UNSET}
    if model.purposes:
        says = "the maker of the model names this purpose"
        yield Change(fact="model", says=says), {}, {"purposes": (call.purpose or "",)}


def _elsewhere(model: Manifest) -> str | None:
    """A country for which the licence of a model grants something."""
    try:
        known = facts(model.licence)
    except LicenceError:
        return None
    return min((one for one in COUNTRIES if places(one).isdisjoint(known.territories + known.multimodal)), default=None)

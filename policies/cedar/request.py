"""What Cedar is asked: a model and a call as entities and context, in the terms of packs/schema.cedarschema.

An attribute that is not known is left out, so that a rule has to test for it with `has`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from policies.facts import Call, Purpose
from policies.licences import LicenceError, facts

__all__ = ["Terms", "context", "entities", "uids"]

# digest, name, task, licence and purposes of a model
Terms = tuple[str, str, str, str, tuple[str, ...]]


def uids(actor: str, action: str, model: str) -> dict[str, Any]:
    """Who does what with which model, by its digest."""
    return {
        "principal": {"type": "Actor", "id": actor},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Model", "id": model},
    }


def entities(actor: str, tenant: str, terms: Terms) -> str:
    """The JSON of the actor and the model."""
    digest, name, task, licence, purposes = terms
    attributes = {"name": name, "task": task, "purposes": list(purposes), "licence": _licence(licence)}
    return json.dumps(
        [
            {"uid": {"type": "Actor", "id": actor}, "attrs": {"tenant": tenant}, "parents": []},
            {"uid": {"type": "Model", "id": digest}, "attrs": attributes, "parents": []},
        ]
    )


def context(call: Call, purposes: Mapping[str, Purpose]) -> dict[str, Any]:
    """The facts of the call. A purpose that is not declared counts as commercial and permits no basis."""
    facts: dict[str, Any] = {
        "at": call.at,
        "data": sorted(call.data),
        "retain_days": call.retain_days,
        "usage": call.usage,
    }
    if call.purpose is not None:
        facts["purpose"] = _purpose(call.purpose, purposes.get(call.purpose))
    for name in ("basis", "consent", "subject", "region"):
        value = getattr(call, name)
        if value is not None:
            facts[name] = value
    return facts


def _purpose(name: str, declared: Purpose | None) -> dict[str, Any]:
    if declared is None:
        return {"name": name, "declared": False, "commercial": True, "bases": []}
    return {"name": name, "declared": True, "commercial": declared.commercial, "bases": sorted(declared.bases)}


def _licence(licence: str) -> dict[str, Any]:
    try:
        known = facts(licence)
    except LicenceError:
        return {"known": False, "id": licence}
    return {
        "known": True,
        "id": known.spdx,
        "commercial": known.commercial,
        "derive": known.derive,
        "share_alike": known.share_alike,
        "attribution": known.attribution,
        "notice_file": known.notice_file,
    }

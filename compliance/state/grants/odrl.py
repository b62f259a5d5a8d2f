"""A usage grant in ODRL, for systems that keep agreements in it: W3C ODRL Information Model 2.2, 2018.

An Agreement whose one permission is to use the models, with the limits as constraints. What the vocabulary has no left
operand for, tokens, seconds of processors and the box, stands in a profile of our own, as the model asks (section 4).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from compliance.state.grants.terms import Signed, Terms

__all__ = ["PROFILE", "odrl"]

PROFILE = "urn:sealpress:odrl:1"


def odrl(signed: Signed) -> dict[str, Any]:
    """The agreement as JSON-LD. It says what the grant says; the signature stays with the grant."""
    terms = signed.terms
    permission: dict[str, Any] = {
        "action": "use",
        "target": [{"@type": "AssetCollection", "uid": _model(pattern)} for pattern in terms.models],
        "constraint": _constraints(terms),
    }
    if terms.tariff is not None:
        pay = {"leftOperand": f"{PROFILE}:tariff", "operator": "eq", "rightOperand": _tariff(terms)}
        permission["duty"] = [{"action": "compensate", "constraint": [pay]}]
    return {
        "@context": "http://www.w3.org/ns/odrl.jsonld",
        "@type": "Agreement",
        "uid": f"urn:sealpress:usage-grant:{terms.id}",
        "profile": PROFILE,
        "assigner": {"@type": "Party", "uid": f"urn:sealpress:key:{signed.key}", "name": terms.issuer},
        "assignee": {"@type": "Party", "uid": f"urn:sealpress:box:{terms.box}", "name": terms.holder},
        "permission": [permission],
    }


def _constraints(terms: Terms) -> list[dict[str, Any]]:
    def limit(operand: str, operator: str, value: object, kind: str) -> dict[str, Any]:
        right = {"@value": value, "@type": f"xsd:{kind}"}
        return {"leftOperand": operand, "operator": operator, "rightOperand": right}

    found = [
        limit("dateTime", "gteq", _time(terms.starts), "dateTime"),
        limit("dateTime", "lt", _time(terms.ends), "dateTime"),
    ]
    amounts = {"count": terms.calls, f"{PROFILE}:tokens": terms.tokens, f"{PROFILE}:cpuSeconds": terms.cpu_s}
    found += [limit(operand, "lteq", amount, "integer") for operand, amount in amounts.items() if amount is not None]
    return [*found, limit(f"{PROFILE}:box", "eq", terms.box, "string")]


def _model(pattern: str) -> str:
    return f"urn:sealpress:model:{pattern}"


def _tariff(terms: Terms) -> str:
    tariff = terms.tariff
    return "" if tariff is None else f"{tariff.name}/{tariff.band}/sha256:{tariff.digest}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).isoformat()

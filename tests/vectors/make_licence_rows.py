"""Make the cases of the pack `licence` for each licence in the table: policies/packs/licence/rows.toml.

For each stage (compress, embedded, served, export, train) a call that the licence lets pass, and for each fact that
differs there a call that it refuses, with the rules that do. What is expected is written down here, and taken from no
engine. A test holds the file against the table, so that a fact which changes shows in both:

    python -m tests.vectors.make_licence_rows
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from policies import licences
from policies.licences import Facts

__all__ = ["ROWS", "rows"]

ROWS = Path(__file__).resolve().parents[2] / "policies" / "packs" / "licence" / "rows.toml"
USES = ("automated_decisions", "law_enforcement", "medical_advice", "military")
AT = 1_800_000_000 * 10**9  # the time of every case
INSIDE = {"EU": "DE"}  # a country in a union
NO_DERIVATIVES = "CC-BY-ND-4.0"

_HEAD = """\
# Made of the table by tests/vectors/make_licence_rows.py: for each licence and stage a call that passes, and for
# each fact that differs there one that is refused. Not written by hand.

[purposes.trade]
bases = ["contract"]
retain_days = 30
uses = ["research"]

[purposes.own]
bases = ["contract"]
commercial = false
retain_days = 30
uses = ["research"]

[purposes.plain]
bases = ["contract"]
commercial = false
retain_days = 30
uses = []

[purposes.silent]
bases = ["contract"]
commercial = false
retain_days = 30
"""
_USE = """
[purposes.{use}]
bases = ["contract"]
commercial = false
retain_days = 30
uses = ["{use}", "research"]
"""


class _Case(NamedTuple):
    """One case; `rules` are those that refuse, none where it passes."""

    name: str
    call: dict[str, Any]
    model: dict[str, Any]
    rules: frozenset[str] = frozenset()
    obligations: tuple[str, ...] | None = None

    def written(self) -> str:
        lines = ["[[case]]", f"name = {_toml(self.name)}", f"allow = {_toml(not self.rules)}"]
        lines += [f"rules = {_toml(sorted(self.rules))}"] if self.rules else []
        lines += [] if self.obligations is None else [f"obligations = {_toml(list(self.obligations))}"]
        return "\n".join([*lines, f"call = {_toml(self.call)}", f"model = {_toml(self.model)}"])


def rows() -> str:
    """The whole file."""
    heads = [_HEAD, *(_USE.format(use=use) for use in USES)]
    cases = [case.written() for spdx, one in licences.entries().items() for case in _of(spdx, one.plain())]
    return "".join(heads) + "\n" + "\n\n".join(cases) + "\n"


def _of(spdx: str, facts: Facts) -> Iterator[_Case]:
    """The cases of one licence."""
    purpose = "trade" if facts.commercial else "own"
    said = {"users": facts.users, "revenue": facts.revenue, "domicile": _place(facts)}
    declared = {name: value for name, value in said.items() if value is not None}
    call: dict[str, Any] = {"purpose": purpose}
    if declared:
        call["declared"] = {"state": "open", **declared}
    if facts.territories:
        call["host"] = "US"
    if facts.notices:
        call["noticed"] = True
    model = {"licence": spdx}
    if facts.prefixes:
        model["name"] = f"{max(facts.prefixes, key=len)} 1"
    if facts.multimodal:
        model["task"] = "image-classification"
    asked = ("attribution",) if facts.attribution else ()
    for stage, action, served in _STAGES:
        here = {"action": action, **({"served": True} if served else {}), **call}
        passes, refused = _passes(stage, facts), list(_refused(stage, facts, here, model))
        yield _Case(
            f"{spdx}, {stage}: passes", here, model, passes, asked if action == "infer" and not passes else None
        )
        for what, changed, of_model, rules in refused:
            yield _Case(f"{spdx}, {stage}: {what}", changed, of_model, frozenset(rules) | passes)
    stated = {"licence": spdx, "starts": 0, "ends": AT}
    over = {"action": "infer", **call}
    yield _Case(f"{spdx}, embedded: stated until now", over, {**model, "stated": stated}, frozenset({"licence.term"}))


_STAGES = (
    ("compress", "compress", False),
    ("embedded", "infer", False),
    ("served", "infer", True),
    ("export", "export", False),
    ("train", "train", False),
)


def _place(facts: Facts) -> str | None:
    """A domicile for which the licence grants something, where it asks."""
    return "US" if facts.territories or facts.multimodal else None


def _passes(stage: str, facts: Facts) -> frozenset[str]:
    """What refuses even the best call."""
    found = set()
    if stage == "export" and facts.derive != "share":
        found = {"default.deny", "licence.share"}
    if stage in ("compress", "train") and facts.derive not in ("local", "share"):
        found |= {"licence.derive"}
    if stage == "served" and facts.no_hosting:
        found = {"licence.hosting"}
    return frozenset(found)


_Refused = tuple[str, dict[str, Any], dict[str, Any], set[str]]


def _refused(stage: str, facts: Facts, call: dict[str, Any], model: dict[str, Any]) -> Iterator[_Refused]:
    """The best call with one thing otherwise, and what refuses it then."""
    holder = {
        rule
        for rule, asks in (
            ("licence.territory", facts.territories),
            ("licence.modality", facts.multimodal),
            ("licence.users", facts.users),
            ("licence.revenue", facts.revenue),
        )
        if asks
    }
    declared = call.get("declared", {"state": "open"})
    if holder:
        yield "nothing is declared", {name: value for name, value in call.items() if name != "declared"}, model, holder
        for state in ("over", "early"):
            gone = {**call, "declared": {**declared, "state": state}}
            yield f"the declaration is {state}", gone, model, holder | {"licence.declaration_term"}
        forged = {**call, "declared": {**declared, "state": "forged"}}
        yield "the declaration is forged", forged, model, holder | {"licence.declaration_signer"}
    for place in facts.territories:
        country = INSIDE.get(place, place)
        yield (
            f"domicile {country}",
            {**call, "declared": {**declared, "domicile": country}},
            model,
            {"licence.territory"},
        )
        yield f"the box in {country}", {**call, "host": country}, model, {"licence.territory"}
    for place in facts.multimodal:
        country = INSIDE.get(place, place)
        yield (
            f"domicile {country}",
            {**call, "declared": {**declared, "domicile": country}},
            model,
            {"licence.modality"},
        )
    for limit in ("users", "revenue"):
        if getattr(facts, limit) is not None:
            more = {**call, "declared": {**declared, limit: getattr(facts, limit) + 1}}
            yield f"more {limit}", more, model, {f"licence.{limit}"}
    if stage in ("embedded", "served", "export", "train") and not facts.commercial:
        yield "for trade", {**call, "purpose": "trade"}, model, {"licence.commercial"}
        trading = {**call, "declared": {**declared, "commercial": True}}
        yield "who declares commerce", trading, model, {"licence.holder"}
    if stage in ("embedded", "served"):
        for use in facts.forbidden:
            yield f"for {use}", {**call, "purpose": use}, model, {"licence.uses"}
        if facts.forbidden:
            yield "for uses that are not said", {**call, "purpose": "silent"}, model, {"licence.uses"}
        if facts.research:
            yield "for no research", {**call, "purpose": "plain"}, model, {"licence.research"}
    kept = (
        [("without the words in NOTICE", {**call, "noticed": False}, model, "licence.notices")] if facts.notices else []
    )
    kept += [("under another name", call, {**model, "name": "a"}, "licence.name")] if facts.prefixes else []
    for what, changed, of_model, rule in kept:
        if stage == "export":
            yield what, changed, of_model, {rule}
        if stage == "served" and facts.hosted:
            yield what, changed, of_model, {"licence.hosted"}
    if stage == "served" and facts.hosted:
        beside = {**model, "licence": " AND ".join(sorted((model["licence"], NO_DERIVATIVES)))}
        yield f"made with what is under {NO_DERIVATIVES}", call, beside, {"licence.hosted"}


def _toml(value: Any) -> str:
    """Booleans, numbers, texts, lists and tables on one line; JSON's texts and lists are TOML's."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(one)}' for name, one in value.items())} }}"
    return msgspec.json.encode(value).decode().replace(",", ", ") if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    ROWS.write_text(rows(), "utf-8")

"""What may be done to the files beside the leaves of evidence: edited, exchanged, dropped, added, or kept quiet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.periods import claims_of, declaration_of, grant_of, override_of, with_claims
from tests.vectors.evidence_case import Case, Mutation, Parts, coded, mutated, without

__all__ = ["on_papers"]


def on_papers(case: Case) -> Iterator[Mutation]:
    for make in (_papers, _approvals, _dropped):
        yield from make(case)


def _papers(case: Case) -> Iterator[Mutation]:
    """The first page, the certificates, the policies and the grants."""
    [policy] = [name for name in case.parts if name.startswith("policies/")]
    [grant] = [name for name in case.parts if name.startswith("grants/")]
    other = f"policies/{'0' * 64}.json"
    foreign = case.others["foreign"]
    text = case.parts[policy].replace(b"permit", b"forbid")
    yield mutated("policy edited", case, case.parts | {policy: text}, f"{policy} evidence_policy")
    yield mutated("policy more", case, case.parts | {other: b"{}"}, f"{other} evidence_policy")
    yield mutated("policy dropped", case, without(case.parts, policy), f"{policy} evidence_policy")
    swapped = without(case.parts, policy) | {other: case.parts[policy]}
    yield mutated("policy under another name", case, swapped, f"{other} evidence_policy")
    edited = json.dumps(json.loads(case.parts[grant]) | {"signature": coded(bytes(64))}).encode()
    yield mutated("grant edited", case, case.parts | {grant: edited}, f"{grant} evidence_grant")
    yield mutated("grant of another box", case, case.parts | {grant: foreign[grant]}, f"{grant} evidence_grant")
    forged = json.dumps(json.loads(case.parts["policy.proof"]) | {"signature": coded(bytes(64))}).encode()
    yield mutated("proof forged", case, case.parts | {"policy.proof": forged}, "policy.proof evidence_proof")
    yield mutated("proof that is none", case, case.parts | {"policy.proof": b"{}"}, "policy.proof evidence_proof")
    for name, found in (
        ("journal.note", "journal.note genesis_signature"),
        ("certificates.notes", "certificate 0 certificate_invalid"),
    ):
        content = case.parts[name]
        yield mutated(
            f"{name} altered", case, case.parts | {name: content.replace(b"2026-11-20", b"2026-11-19")}, found
        )
    yield mutated("certificates gone", case, case.parts | {"certificates.notes": b""}, "joint 0 joint_signature")
    yield mutated(
        "first page of another journal",
        case,
        case.parts | {"journal.note": foreign["journal.note"]},
        "evidence.json evidence_journal",
    )


def _approvals(case: Case) -> Iterator[Mutation]:
    """The signed files of overrides and declarations: others signed them, or they say something else than was told."""
    [override] = [name for name in case.parts if name.startswith("overrides/")]
    [declaration] = [name for name in case.parts if name.startswith("declarations/")]
    box, foreign = case.forge.id, case.others["foreign"]
    whole = json.loads(case.parts[override])
    people = whole["keys"] | {"dan": whole["keys"]["ann"]}
    signed = whole["signatures"] | {"dan": whole["signatures"]["ann"]}
    for what, file in (
        ("edited", override_of(box, "ann", "bob", reason="Curiosity")),
        ("prolonged", override_of(box, "ann", "bob", ends=2**60 + 3)),
        ("with a text for a time", override_of(box, "ann", "bob", ends=str(2**60 + 2))),
        ("of another name", override_of(box, "ann", "bob", name="audit")),
        ("by one person", override_of(box, "ann")),
        ("by one key under two names", json.dumps(whole | {"keys": {"ann": people["ann"], "dan": people["dan"]},
                                                           "signatures": signed}).encode()),
        ("by others", override_of(box, "cyd", "dan")),
        ("by one of them and another", override_of(box, "ann", "cyd")),
        ("with other keys", json.dumps(whole | {"keys": {**whole["keys"], "bob": people["cyd"]},
                                                "signatures": {**signed, "bob": signed["cyd"]}}).encode()),
        ("with a signature less", json.dumps(whole | {"signatures": {"ann": signed["ann"]}}).encode()),
        ("with a forged signature", json.dumps(whole | {"signatures": {**signed, "cyd": signed["bob"]}}).encode()),
        ("of another box", foreign[override]),
        ("that is none", b"[]"),
    ):  # fmt: skip
        yield mutated(f"override {what}", case, case.parts | {override: file}, f"{override} evidence_override")
    other = f"overrides/{'3' * 16}.json"
    untold = without(case.parts, override) | {other: override_of(box, "ann", "bob", id="3" * 16)}
    yield mutated("override that was not told", case, untold, f"{other} evidence_override")
    stated = json.loads(case.parts[declaration])
    for what, file in (
        ("edited", declaration_of(box, users=4).file),
        ("that says more", declaration_of(box, revenue=1).file),
        ("prolonged", declaration_of(box, ends=2**53 + 2).file),
        ("of another box", foreign[declaration]),
        ("forged", json.dumps(stated | {"signature": coded(bytes(64))}).encode()),
        ("that is none", b"{}"),
    ):
        parts = case.parts | {declaration: file}
        yield mutated(f"declaration {what}", case, parts, f"{declaration} evidence_declaration")
    other = f"declarations/{'3' * 32}.json"
    untold = without(case.parts, declaration) | {other: declaration_of(box, id="3" * 32).file}
    yield mutated("declaration that was not told", case, untold, f"{other} evidence_declaration")


def _dropped(case: Case) -> Iterator[Mutation]:
    """Files beside the leaves that are dropped or added, also where the claims are edited with them."""
    [grant], [override], [declaration] = (
        [name for name in case.parts if name.startswith(f"{folder}/")]
        for folder in ("grants", "overrides", "declarations")
    )

    def listed(parts: Parts, edit: Callable[[Any], object]) -> Parts:
        claims = claims_of(parts)
        edit(claims)
        return with_claims(parts, claims)

    malformed = "evidence.json evidence_malformed"
    for name in (grant, override, declaration, "policy.proof"):
        missing = f"{name} evidence_missing"
        fewer = without(case.parts, name)
        yield mutated(f"without {name}", case, fewer, missing)
        lost = listed(fewer, _with("absent", name))
        yield mutated(f"without {name}, which is listed twice", case, lost, missing)
        unlisted = listed(case.parts, _without("papers", name))
        yield mutated(f"{name} unlisted", case, unlisted, f"{name} evidence_malformed")
        both = listed(case.parts, _with("absent", name))
        yield mutated(f"{name} both here and not", case, both, malformed)
        if name != "policy.proof":  # of which no leaf tells
            dropped = listed(fewer, _without("papers", name))
            yield mutated(f"without {name} and its line", case, dropped, missing)
    other, first = f"grants/{'7' * 32}.json", claims_of(case.parts)["papers"][0]
    for what, edit in (
        ("something else absent", _with("absent", other)),
        ("papers out of order", lambda claims: claims["papers"].reverse()),
        ("a paper twice", lambda claims: claims["papers"].insert(0, first)),
        ("papers that are no texts", lambda claims: claims.update(absent=[1])),
        ("papers that are no list", lambda claims: claims.update(absent=None)),
    ):
        yield mutated(what, case, listed(case.parts, edit), malformed)
    yield from _grants(case, grant, listed)


def _grants(case: Case, grant: str, listed: Callable[[Parts, Callable[[Any], object]], Parts]) -> Iterator[Mutation]:
    """A usage grant that is another one, that nobody told of, or whose import is kept quiet."""
    box = case.forge.id
    for what, file in (
        ("by another issuer", grant_of(box, "a forger")),
        ("of another holder", grant_of(box, holder="a friend")),
        ("for other models", grant_of(box, models=("minilm", "another"))),
        ("prolonged", grant_of(box, ends=2**62 + 1)),
        ("with a limit", grant_of(box, calls=5)),
    ):
        yield mutated(f"grant {what}", case, case.parts | {grant: file.file}, f"{grant} evidence_grant")
    other = f"grants/{'7' * 32}.json"
    added = case.parts | {other: grant_of(box, id="7" * 32).file}
    known = listed(added, lambda claims: claims.update(papers=sorted([*claims["papers"], other])))
    for what, parts in (("", added), (" and is listed", known)):
        yield mutated(f"grant that was not told{what}", case, parts, f"{other} evidence_grant")
    quiet = listed(case.parts, lambda claims: claims["earlier"].pop(1))
    yield mutated("import of the grant kept quiet", case, quiet, f"{grant} evidence_grant")
    # the signed heads count that it came
    gone = listed(without(quiet, grant), _without("papers", grant))
    yield mutated("grant kept quiet altogether", case, gone, f"{grant} evidence_missing")


def _with(member: str, name: str) -> Callable[[Any], object]:
    return lambda claims: claims[member].append(name)


def _without(member: str, name: str) -> Callable[[Any], object]:
    return lambda claims: claims[member].remove(name)

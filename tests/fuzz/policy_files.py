"""The target of a fuzzer (atheris): rules, schema, cases, claims and archives made of anything.

Refused with a PolicyError, or taken and then decided by; anything else ends the run with the input that did it. A
policy that never says `permit` allows nothing.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["policies.cedar"]):
    from policies.cedar import Engine, PolicyError, load, reloaded
    from policies.cedar.cases import Cases, tried
    from policies.cedar.claims import Claims, condition

import cedarpy

from policies.facts import Call, Manifest, Purpose

MODEL = Manifest(format=1, name="m", version="1", digest="0" * 64, task="embed", licence="MIT", inputs=(), outputs=())
CALL = Call(
    id="c", at=1, actor="a", tenant="t", action="infer", model=MODEL.digest, purpose="care", basis="consent",
    data=frozenset({"health"}), signer="s", sealed=True, usage=2**63 - 1,
)  # fmt: skip
PURPOSES = {"care": Purpose(bases=frozenset({"consent"}), retain_days=1)}
PACKS = Path(__file__).parents[2] / "policies" / "packs"
SCHEMA = (PACKS / "schema.cedarschema").read_bytes() + b"\ntype Packs = {};\n"
HANDLE = cedarpy.Schema.from_str(SCHEMA.decode())
ALLOW = b'@id("a.allow") @reason("All may be done here.") permit (principal, action, resource);\n'
OWN = load({"own.cedar": ALLOW}, SCHEMA, PURPOSES)


def decided(engine: Engine, text: bytes) -> None:
    decision = engine.decide(MODEL, CALL)
    if decision.allowed and b"permit" not in text:
        raise AssertionError("a policy without a permit allows")


def one(data: bytes) -> None:
    """The first byte says what the others are taken for."""
    kind, data = data[:1], data[1:]
    with suppress(PolicyError):
        match kind:
            case b"r":
                decided(load({"own.cedar": data}, SCHEMA, PURPOSES), data)
            case b"e":
                expression = b'@id("a.no") @reason("This is refused.") forbid (principal, action, resource) when {'
                decided(load({"own.cedar": ALLOW + expression + data + b"};"}, SCHEMA, PURPOSES), ALLOW)
            case b"s":
                load({"own.cedar": ALLOW}, data, PURPOSES)
            case b"c":
                tried(OWN, Cases.read("cases.toml", data))
            case b"l":
                for claim in Claims.read("claims.toml", data).claim:
                    condition(claim.name, claim.never, HANDLE)
            case _:
                decided(reloaded(data), data)


def seeds(folder: Path) -> None:
    """What stands in the packs, to begin with."""
    kinds = {"policy.cedar": "r", "cases.toml": "c", "claims.toml": "l", "schema.cedarschema": "s"}
    for number, path in enumerate(sorted(PACKS.rglob("*"))):
        if path.name in kinds:
            (folder / f"{number}").write_bytes(kinds[path.name].encode() + path.read_bytes()[:6_000])
    (folder / "source").write_bytes(b"a" + OWN.source)
    (folder / "expression").write_bytes(b'econtext has basis && context.data.contains("x") || context.usage + 1 > 5')


if __name__ == "__main__":
    seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()

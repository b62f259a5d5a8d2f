"""How the golden report and the golden answer were made: `python -m tests.vectors.make_reports`.

The files under tests/vectors/reports are kept: what a release has written must stay readable. Run this only for a new
format; it refuses to overwrite.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import structs

from compliance.controls.answers import Answer, signed
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from tests.evidences import a_call, evidence, told
from tests.forge import signer

GOLDEN = Path(__file__).resolve().parent / "reports" / "golden-v1"
RECORD = GOLDEN.parent / "golden-record-v1"


def main() -> None:
    if not GOLDEN.exists():
        first()
    record()


def first() -> None:
    """What the first release wrote; with this one it has more members."""
    GOLDEN.mkdir(parents=True)
    answer = Answer(
        control="hipaa-logoff",
        journal="12" * 16,
        says="met",
        text="The portal ends sessions after ten minutes.",
        name="Dr. A. Weber",
        role="security officer",
        at=1_794_000_000 * 10**9,
    )
    one = signed(answer, signer("root"))
    inputs = Inputs(
        profile="hipaa", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True, answers=(one,)
    )
    (GOLDEN / "answer.json").write_bytes(msgspec.json.format(msgspec.json.encode(one), indent=1) + b"\n")
    (GOLDEN / "report.json").write_bytes(written(made(evidence(), inputs), "json"))


def record() -> None:
    """A report with the record of processing, laws that disagree, quality by slice, and what is left of a time line."""
    RECORD.mkdir()
    [papers] = evidence().models
    sliced = {"name": "label a", "items": 12, "mean": 0.97, "low": 0.95, "high": 0.99}
    after = {**papers.measurements["after"], "slices": [sliced]}
    policy = structs.replace(
        evidence().policies[0], parameters={"ai_act": {"high_risk": ["search"]}, "gdpr": {"retain_days": 90}}
    )
    found = evidence(
        calls=(a_call(1, data=frozenset({"email"}), retain_days=90), a_call(3, allowed=False)),
        policies=(policy,),
        models=(structs.replace(papers, measurements={**papers.measurements, "after": after}),),
        notes=tuple(told(number, "policy_changed", policy=policy.digest) for number in range(5, 206)),
    )
    inputs = Inputs(profile="gdpr", lang="en", made=1_795_000_000 * 10**9, version="0.1.0", witnessed=True)
    (RECORD / "report.json").write_bytes(written(made(found, inputs), "json"))


if __name__ == "__main__":
    main()

"""How the golden report and the golden answer were made: `python -m tests.vectors.make_reports`.

The files under tests/vectors/reports are kept: what a release has written must stay readable. Run this only for a new
format; it refuses to overwrite.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from compliance.controls.answers import Answer, signed
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from tests.evidences import evidence
from tests.forge import signer

GOLDEN = Path(__file__).resolve().parent / "reports" / "golden-v1"


def main() -> None:
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


if __name__ == "__main__":
    main()

"""How the golden usage grant and its store were made: `python -m tests.vectors.make_grants`.

The files under tests/vectors/grants are kept: what a release has written must stay readable. Run this only for a new
format; it refuses to overwrite.
"""

from __future__ import annotations

from contextlib import closing
from datetime import date
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compliance.crypto import Signer
from compliance.journal.signing import DayKey
from compliance.state.grants.meter import Meter
from compliance.state.grants.revocation import revoked
from compliance.state.grants.statement import Covered, Statement, Use, signed
from compliance.state.grants.store import FORMAT, NAME, store
from compliance.state.grants.terms import Tariffed
from compliance.verify.note import ROOT
from compliance.verify.note import signed as note
from compliance.verify.statements import Certificate
from policies.facts import Manifest
from tests.granted import ISSUER, KEY, NOW, grant

HERE = Path(__file__).resolve().parent / "grants"
BOX = "ab" * 16
MODEL = Manifest(
    format=1, name="minilm", version="1", digest="cd" * 32, task="embed", licence="MIT", inputs=(), outputs=()
)


ROOT_KEY = Signer(sha256(b"the root of the golden statement").digest())
# a statement of the day that NOW is in: 15 January 2027
USED = {"calls": 2, "tokens": 10, "cpu_us": 30, "parent_cpu_us": 75}
USE = Use(grant="07" * 16, issuer="Model Works", key=KEY, holder="St. Mary", used=USED)
SHARD = Covered(shard=0, since=3, until=9, root="cm9vdA==")
STATED = Statement(box=BOX, month="2027-01", made=NOW, shards=(SHARD,), grants=(USE,))


def day_key() -> DayKey:
    day = Signer(sha256(b"the key of that day").digest())
    said = Certificate(BOX, day.public, date(2027, 1, 15), date(2027, 1, 1))
    return DayKey(day, note(said.text(), ROOT, ROOT_KEY))


def main() -> None:
    golden = HERE / f"format-{FORMAT}"
    tariff = Tariffed(name="public health", digest="12" * 32, band="rural")
    models = ("minilm*", f"sha256:{'ab' * 32}")
    amounts: dict[str, Any] = {"calls": 100_000, "tokens": 25_000_000, "cpu_s": 3_600}
    made = grant(BOX, id="07" * 16, models=models, starts=NOW, tariff=tariff, **amounts)
    with TemporaryDirectory() as name:
        with closing(Meter(Path(name), BOX, ("*",), lambda: {})) as meter:
            meter.take(made, NOW)
            for number in range(2):
                held = meter.hold(MODEL, NOW, frozenset({KEY}))
                if held is not None:
                    meter.settle(held, 4 + 2 * number, 10 + 10 * number)
        image = store(Path(name)).image()
    if image is not None and not golden.exists():
        golden.mkdir(parents=True)
        (golden / NAME).write_bytes(image)
        (golden / "st-mary.grant").write_bytes(made.file)
        (golden / "november.json").write_bytes(signed(STATED, day_key()))
    ends = golden / "st-mary.revocation"
    if not ends.exists():
        ends.write_bytes(revoked(made, NOW, ISSUER).file)


if __name__ == "__main__":
    main()

"""How the golden evidence was made: `python -m tests.vectors.make_evidence`.

The files under tests/vectors/evidence are kept: what a release has written must stay readable. Run this only for a new
format; it refuses to overwrite.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from compliance.crypto import sha256
from tests.periods import Period

GOLDEN = Path(__file__).resolve().parent / "evidence" / "golden-v2"


def main() -> None:
    GOLDEN.mkdir(parents=True)
    with TemporaryDirectory() as folder:
        period = Period.forged(Path(folder) / "journal", erased="patient-9")
        period.make(GOLDEN / "evidence.zip")
    (GOLDEN / "root").write_text(f"{sha256(period.root).hex()}\n", "utf-8")
    (GOLDEN / "kept.head").write_text(period.kept["joint after"], "utf-8")


if __name__ == "__main__":
    main()

"""How the golden consents were made: `python -m tests.vectors.make_consents`.

The files under tests/vectors/consents are kept: what a release has written must stay readable. Run this only for a new
format; it refuses to overwrite. The salts beside the store are those of the persons in it, and nobody's.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from compliance.state.consents import FORMAT, NAME, Consent, Consents, Terms
from compliance.state.salts import Salts

HERE = Path(__file__).resolve().parent / "consents"
TENANT, PERSON = "clinic", "patient-7"
WITHDRAWN = 40
TERMS = (
    Terms(purpose="care", at=10, expires=20, explicit=True, wording="ab" * 32),
    Terms(purpose="care", at=30, guardian=True),
    Terms(purpose="research", at=35, explicit=True, guardian=True, expires=2**62),
)


def main() -> None:
    golden = HERE / f"format-{FORMAT}"
    with TemporaryDirectory() as name:
        folder = Path(name)
        Salts.create(folder / "salts.sqlite")
        store = Consents(folder)
        with closing(Salts(folder / "salts.sqlite")) as salts:
            for terms in TERMS:
                store.record(salts, TENANT, PERSON, Consent.to(terms))
            store.record(salts, TENANT, "patient-8", Consent.to(Terms(purpose="care", at=10)))
            store.withdraw(salts, TENANT, PERSON, "care", None, WITHDRAWN)
        image = store.image()
        if image is not None and not golden.exists():
            (folder / NAME).write_bytes(image)
            shutil.copytree(folder, golden, ignore=shutil.ignore_patterns("*-wal", "*-shm"))


if __name__ == "__main__":
    main()

"""How the golden journals, the attacks on journals and the receipts were made: `python -m tests.vectors.make_journals`.

The files are kept, as those of the bundles are (make_bundles.py). Keys and salts come from names; nonces and the keys
of epochs are random. Run this only to add a case; what is there stays.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from compliance.verify.leaf import ALLOWED, CLOSED, REFUSED, record_name
from compliance.verify.statements import key_text
from tests.forge import Forge, notes_file
from tests.vectors import attacks_on_heads, attacks_on_joint_heads, attacks_on_keys, attacks_on_logs, attacks_on_records
from tests.vectors.cases import ATTACKS, Case, case_of
from tests.vectors.goldens import GOLDENS, golden_v1
from tests.vectors.receipt_cases import RECEIPTS

HERE = Path(__file__).resolve().parent
# to import one of these is to have its attacks in ATTACKS
MODULES = (attacks_on_heads, attacks_on_joint_heads, attacks_on_keys, attacks_on_logs, attacks_on_records)


def main() -> None:
    for golden in GOLDENS:
        folder = HERE / "journals" / golden.__name__.replace("_", "-")
        if not folder.exists():
            forge, given = golden()
            _write(folder, case_of(forge, [], given), _counts(forge))
            if golden is golden_v1:
                _pretty(folder / "keys.json", _keys(forge))
    for name, made in ATTACKS.items():
        folder = HERE / "journals" / name
        if not folder.exists():
            _write(folder, made(), {})
    (HERE / "receipts").mkdir(exist_ok=True)
    for name, receipt in RECEIPTS.items():
        path = HERE / "receipts" / f"{name}.json"
        if not path.exists():
            _pretty(path, receipt())


def _write(folder: Path, case: Case, counts: dict[str, int]) -> None:
    (folder / "journal").mkdir(parents=True)
    for name, data in case.files.items():
        (folder / "journal" / name).write_bytes(data)
    given = case.given
    if given.head is not None:
        (folder / "head.txt").write_text(given.head, "utf-8")
    if given.revocations:
        (folder / "revocations.txt").write_bytes(notes_file(given.revocations))
    expected = {
        "root": key_text(case.root),
        "head": None if given.head is None else "head.txt",
        "revocations": "revocations.txt" if given.revocations else None,
        "witness": None if given.witness is None else key_text(given.witness),
        "failures": [dict(zip(("place", "code"), failure.rsplit(" ", 1), strict=True)) for failure in case.failures],
    }
    _pretty(folder / "expected.json", {**expected, **counts})


def _counts(forge: Forge) -> dict[str, int]:
    kinds = [body[1] for shard in forge.shards for body in shard.bodies]
    allowed, refused, closed = map(kinds.count, (ALLOWED, REFUSED, CLOSED))
    counts = {"records": len(kinds), "allowed": allowed, "refused": refused, "closed": closed}
    return counts | {"unfinished": allowed - closed}


def _keys(forge: Forge) -> object:
    """What opens the records, and what is in them."""
    return {
        "auditors": [_base64(auditor.private_bytes()) for auditor in forge.auditors],
        "salts": {row.hex(): _base64(salt) for row, salt in forge.salts.items()},
        "records": {
            record_name(*record): {"metadata": json.loads(metadata), "payload": _base64(payload)}
            for record, (metadata, payload) in forge.contents.items()
        },
    }


def _pretty(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    main()

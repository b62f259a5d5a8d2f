"""How fast evidence is verified and every number in it counted again, beside verifying the journal that it is of."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.frame import Result, in_turn, measured
from benchmarks.verify import write
from compliance.crypto import Opener
from compliance.evidence.make import Papers, make
from compliance.evidence.period import bounds
from compliance.journal.reader import Walk
from compliance.keys import from_text, read_key
from compliance.state.salts import Salts
from compliance.verify.evidence import verify_evidence
from compliance.verify.journal import verify_journal
from toolkit.box import Box
from toolkit.new_box import create_box

CALLS = 25_000


def run() -> list[Result]:
    with TemporaryDirectory() as folder:
        create_box(Path(folder) / "box")
        box = Box(Path(folder) / "box" / "sealpress.toml")
        write(box, CALLS)
        journal, file = box.journal_folder, Path(folder) / "evidence.zip"
        opener = Opener(read_key(Path(folder) / "box-auditor" / "auditor.key", "auditor-private"))
        root = from_text(box.settings.journal.root)
        with closing(Salts(box.salts_path)) as salts:
            walk = Walk(journal, verify_journal(journal, root).id, opener)
            make(
                file,
                journal,
                bounds(journal, None, None),
                walk,
                salts,
                Papers(box.policies_folder, (), None, {}, {}, {}),
            )
        size = file.stat().st_size
        rounds = in_turn(
            {
                "verify evidence": _rate(lambda: verify_evidence(file, root, nonce="seven blue cups")),
                "verify its journal": _rate(lambda: verify_journal(journal, root)),
            },
            rounds=9,
        )
    return [
        measured(
            "evidence",
            f"Calls a second, of evidence of {CALLS:,} calls with {size / CALLS:.0f} bytes each, in one thread, from "
            "the page cache. A call has two records.",
            "1/s",
            "verify evidence",
            rounds,
            notes=[
                "The goal is 50,000: a million calls in 20 s. Beside what verifying the journal takes, the commitment "
                "of each record is opened, and its metadata are read and counted."
            ],
            packages=["sealpress", "cryptography"],
        )
    ]


def _rate(work: Callable[[], object]) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        work()
        return CALLS / (time.perf_counter() - start)

    return once

"""How fast a journal is verified, beside what nobody can save: reading its log, and hashing every record once."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from benchmarks.frame import Result, in_turn, measured
from compliance.keys import from_text
from compliance.verify.journal import verify_journal
from compliance.verify.leaf import frames
from policies.facts import Manifest, Outcome
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.new_box import create_box

CALLS = 50_000
MODEL = Manifest(format=1, name="none", version="1", digest="0" * 64, task="none", licence="MIT", inputs=(), outputs=())
CHUNK = 1_000_000


def run() -> list[Result]:
    with TemporaryDirectory() as folder:
        create_box(Path(folder) / "box")
        box = Box(Path(folder) / "box" / "sealpress.toml")
        write(box, CALLS)
        log = box.journal_folder / "shard-000.log"
        size = log.stat().st_size
        with log.open("rb") as file:
            bodies = [body for body, _, _ in frames(file.read, size)]
        root = from_text(box.settings.journal.root)
        rounds = in_turn(
            {
                "verify": _rate(len(bodies), lambda: verify_journal(box.journal_folder, root)),
                "SHA-256 of every record": _rate(len(bodies), lambda: [sha256(body).digest() for body in bodies]),
                "reading the log": _rate(len(bodies), lambda: _read(log)),
            },
            rounds=9,
        )
    return [
        measured(
            "verify",
            f"Records a second, of a log of {len(bodies):,} with {size / len(bodies):.0f} bytes each, in one "
            "thread, from the page cache.",
            "1/s",
            "verify",
            rounds,
            notes=[
                "The goal is 100,000. Beside the hash of a record, one node of the tree is hashed for each, its header "
                "is read and its nonce looked up; a signed head costs 0.15 ms more."
            ],
            packages=["sealpress", "cryptography"],
        )
    ]


def write(box: Box, calls: int) -> None:
    """So many calls into the journal of a box, each with its outcome, as a caller makes them whose use is counted."""
    sealed, decision, payload = box.journal.sealed, None, Payload.checked({"texts": ["x" * 800]})
    for usage in range(calls):
        # what the gate adds, and a signer where there is no bundle
        call = box.call("infer", MODEL.digest, Context(purpose="search"), "ed25519:none")
        call = replace(call, sealed=sealed, usage=usage)
        decision = decision or box.policy.decide(MODEL, call)
        box.journal.closed(box.journal.opened(call, MODEL, decision, payload), Outcome(ok=True))
    box.journal.close()


def _read(log: Path) -> None:
    with log.open("rb") as file:
        while file.read(CHUNK):
            pass


def _rate(records: int, work: Callable[[], object]) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        work()
        return records / (time.perf_counter() - start)

    return once

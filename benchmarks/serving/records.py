"""The answers of a server beside the records of its journal, opened with the auditor's key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from benchmarks.serving.boxes import BoxFolder
from compliance.crypto import Opener
from compliance.journal.genesis import identity
from compliance.journal.reader import read
from compliance.journal.records import Closed, Opened
from compliance.keys import from_text, read_key
from compliance.state.salts import Salts
from toolkit.settings import read_settings

__all__ = ["Found", "compared"]


class Found(NamedTuple):
    """`missing` are answered calls without the records that belong to such an answer; `unanswered` are calls on record
    whose answer never arrived."""

    records: int
    calls: int
    missing: int
    unanswered: int


def compared(box: BoxFolder, answered: Mapping[bytes, int]) -> Found:
    """`answered` are the ids of calls with the status of the answer. A call that ran has a record of its intent and one
    of an outcome that is well; a refused one a record of the refusal."""
    settings = read_settings(box.path / "sealpress.toml")
    id_ = identity(box.path / "journal", from_text(settings.journal.root))
    opener = Opener(read_key(box.auditor, "auditor-private"))
    told: defaultdict[bytes, set[str]] = defaultdict(set)
    records = 0
    with closing(Salts(box.path / "state" / "salts.sqlite")) as salts:
        for record in read(box.path / "journal", id_, opener, salts):
            records += 1
            match record.metadata:
                case Opened(call=call, allowed=allowed) if call.action == "infer":
                    told[bytes.fromhex(call.id)].add("allowed" if allowed else "refused")
                case Closed(call=call_id, outcome=outcome):
                    told[bytes.fromhex(call_id)].add("well" if outcome.ok else "failed")
    needed = {200: {"allowed", "well"}, 403: {"refused"}}
    missing = sum(
        not told.get(call) or not needed.get(status, set()) <= told[call] for call, status in answered.items()
    )
    return Found(records, len(told), missing, len(told.keys() - answered.keys()))

"""Golden journals hold and stay readable; attacks on journals and on receipts are refused, each for its own reason."""

from __future__ import annotations

import base64
import json
import re
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compliance.crypto import Opener
from compliance.journal.reader import Walk
from compliance.journal.records import Metadata, contribution
from compliance.verify.journal import NotVerified, Verified, genesis, verify_journal
from compliance.verify.leaf import frames
from compliance.verify.merkle import Tree, position
from compliance.verify.note import notes
from compliance.verify.receipt import verify_receipt
from compliance.verify.statements import key_bytes
from policies.payload import Payload

HERE = Path(__file__).resolve().parent
JOURNALS = sorted(path.parent for path in HERE.glob("journals/*/expected.json"))
RECEIPTS = sorted(HERE.glob("receipts/*.json"))
GOLDEN = HERE / "journals" / "golden-v1"
# SHA-256 over name and content of each file of the golden journal: what a release has written is never written anew
FROZEN = "a94f74c28ed7dd10e25d93ef42905aab8447db35f11fb0595531b67f1c46091a"
COUNTS = ("records", "allowed", "refused", "closed", "unfinished")
# where the last epoch begins, which was sealed to the first and the third auditor
LAST_EPOCH = 16


@pytest.mark.parametrize("case", JOURNALS, ids=lambda case: case.name)
def test_a_journal_gets_the_answer_that_was_thought_out(case: Path) -> None:
    expected = _read(case / "expected.json")
    if expected["failures"]:
        with pytest.raises(NotVerified) as refusal:
            _verified(case, expected)
        assert _found(refusal.value) == expected["failures"]
    else:
        counts = _verified(case, expected)
        assert {name: getattr(counts, name) for name in COUNTS} == {name: expected[name] for name in COUNTS}


@pytest.mark.parametrize("path", RECEIPTS, ids=lambda path: path.stem)
def test_a_receipt_gets_the_answer_that_was_thought_out(path: Path) -> None:
    case = _read(path)
    given = json.dumps(case["receipt"]).encode(), key_bytes(case["root"]), case["head"]
    if case["failures"]:
        with pytest.raises(NotVerified) as refusal:
            verify_receipt(*given)
        assert _found(refusal.value) == case["failures"]
    else:
        assert len(verify_receipt(*given).records) == len(case["receipt"]["records"])


def test_every_reason_of_the_format_has_an_attack() -> None:
    page = (HERE.parents[1] / "docs" / "formats.md").read_text("utf-8")
    cases = (*(case / "expected.json" for case in JOURNALS), *RECEIPTS)
    given = {failure["code"] for case in cases for failure in _read(case)["failures"]}
    # a witness is not asked in these cases, and evidence, marks and tokens of time have cases of their own
    other = ("witness_", "evidence_", "mark_", "timestamp_")
    known = {code for code in NotVerified.hints if not code.startswith(other)} - {"given_unproved"}
    assert "record_of" in known & set(re.findall(r"`([a-z]+_[a-z]+)`", page)) <= given


@pytest.mark.parametrize(
    "name", ["rolled-back", "forked", "truncated-at-a-checkpoint", "forged-with-a-stolen-day-key-within-its-day"]
)
def test_what_only_a_head_from_outside_shows(name: str) -> None:
    """Without one these hold: the threat model says so."""
    case = HERE / "journals" / name
    expected = _read(case / "expected.json")
    assert [failure["place"] for failure in expected["failures"]] == ["head"]
    assert not _verified(case, expected | {"head": None}).given


@pytest.mark.parametrize("auditor", range(3))
def test_the_golden_journal_stays_readable(auditor: int) -> None:
    """For each auditor from the epochs that were sealed to them: the second went, and the third came."""
    keys, root = _read(GOLDEN / "keys.json"), _read(GOLDEN / "expected.json")["root"]
    id_ = genesis(GOLDEN / "journal", key_bytes(root)).id
    opener = Opener(base64.b64decode(keys["auditors"][auditor]))
    opened = set()
    for located in Walk(GOLDEN / "journal", id_, opener):
        if not located.chain:
            continue
        salt = base64.b64decode(keys["salts"][located.row.hex()])
        contributed = contribution(salt, located.journal, *located.place)
        record = located.opened({located.place: contributed})
        sealed = keys["records"][located.name]
        assert record.metadata == msgspec.convert(sealed["metadata"], Metadata)
        payload = base64.b64decode(sealed["payload"])
        assert record.payload == (msgspec.msgpack.decode(payload, type=Payload) if payload else None)
        opened.add(located.name)
    every = set(keys["records"])
    late = {name for name in every if name.startswith("shard-000/") and int(name[10:]) > LAST_EPOCH}
    assert opened == (every, every - late, late)[auditor]


def test_the_nodes_of_the_golden_journal_are_those_of_its_tree() -> None:
    for log in (GOLDEN / "journal").glob("*.log"):
        tree, data, nodes = Tree(), log.read_bytes(), log.with_suffix(".nodes").read_bytes()
        with log.open("rb") as file:
            for _, leaf, _ in frames(file.read, len(data)):
                tree.append(leaf)
        assert Tree.from_nodes(tree.size, partial(_node, nodes)).root() == tree.root()


def test_the_golden_journal_is_frozen() -> None:
    files = sorted((GOLDEN / "journal").iterdir())
    digest = sha256(b"".join(path.name.encode() + sha256(path.read_bytes()).digest() for path in files))
    assert digest.hexdigest() == FROZEN


def _node(nodes: bytes, level: int, index: int) -> bytes:
    return nodes[position(level, index) * 32 :][:32]


def _verified(case: Path, expected: dict[str, Any]) -> Verified:
    head, revocations, witness = (expected[name] for name in ("head", "revocations", "witness"))
    return verify_journal(
        case / "journal",
        key_bytes(expected["root"]),
        head=(case / head).read_text("utf-8") if head else None,
        revocations=[note for note, _ in notes(case / revocations, "cut", "malformed")] if revocations else (),
        witness=key_bytes(witness) if witness else None,
    )


def _found(refusal: NotVerified) -> list[dict[str, str]]:
    return [{"place": failure.place, "code": failure.code} for failure in refusal.failures]


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))

"""A witness and the box before it, with journals forged for them: what is co-signed, and every reason why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compliance.journal.errors import JournalError
from compliance.verify.note import Note, cosigned, cosigned_at
from compliance.verify.statements import JointHead
from compliance.witness.errors import WitnessError
from compliance.witness.exchange import Seen
from compliance.witness.store import Witness
from compliance.witness.witnessed import Witnessed
from policies.errors import Failed
from tests.forge import NEXT_DAY, SECOND, Forge, midnight, nodes_of, signer

KEY = signer("witness")


@dataclass
class Box:
    """A forged journal on disk, and its witness."""

    forge: Forge
    folder: Path
    witness: Witness

    def write(self, *, nodes: bool = True) -> None:
        self.forge.write(self.folder)
        for shard in self.forge.shards if nodes else ():
            (self.folder / f"shard-{shard.number:03d}.nodes").write_bytes(b"".join(nodes_of(shard.bodies)))

    def grow(self, records: int = 3, shard: int = 0) -> None:
        """So many records more in a shard, and a joint head over them, on disk."""
        while len(self.forge.shards) <= shard:
            self.forge.shard().epoch()
        for _ in range(records):
            self.forge.shards[shard].noted()
        self.forge.joint()
        self.write()

    @property
    def side(self) -> Witnessed:
        return Witnessed(self.folder, self.forge.root.public, KEY.public)

    def exchange(self) -> bytes:
        return self.exchange_from(self.side.last())

    def exchange_from(self, known: JointHead | None) -> bytes:
        return msgspec.json.encode(self.side.exchange(known))

    def sent(self) -> Seen:
        """One exchange, kept."""
        seen = self.witness.seen(self.exchange(), self.forge.at)
        self.side.must_hold(self.side.keep(seen.head))
        return seen

    def refused(self, document: bytes | None = None, at: int | None = None) -> WitnessError:
        with pytest.raises(WitnessError) as caught:
            self.witness.seen(self.exchange() if document is None else document, self.forge.at if at is None else at)
        return caught.value

    def forks(self) -> list[Path]:
        return list((self.folder.parent / "witness").glob("journals/*/forks/*"))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    witness = Witness(tmp_path / "witness", KEY)
    made = Box(Forge(), tmp_path / "journal", witness)
    witness.trust(made.forge.id, made.forge.root.public)
    made.grow()
    return made


def changed(document: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(document), **members}).encode()


def test_a_head_comes_back_with_the_signature_of_the_witness(box: Box) -> None:
    note = Note.parsed(box.sent().head)

    assert note.first().written() == box.forge.joints[-1]
    assert cosigned_at(note, KEY.public) == box.forge.at // SECOND
    assert box.side.last() == JointHead.parsed(note.text)


def test_heads_that_grow_are_co_signed_one_after_the_other(box: Box) -> None:
    for records, shard in ((1, 0), (4, 1), (0, 0), (9, 0), (2, 2)):
        box.grow(records, shard)
        box.sent()
    kept = (box.folder / "witnessed.notes").read_text().count("sealpress.journal")
    assert kept == 5
    # the same again changes nothing
    box.sent()
    assert (box.folder / "witnessed.notes").read_text().count("sealpress.journal") == kept


@pytest.mark.parametrize("damage", ["gone", "short", "altered"])
def test_the_proof_is_made_from_the_log_where_the_nodes_do_not_hold(box: Box, damage: str) -> None:
    box.sent()
    box.grow(5)
    nodes = box.folder / "shard-000.nodes"
    data = nodes.read_bytes()
    nodes.unlink() if damage == "gone" else nodes.write_bytes(data[:64] if damage == "short" else bytes(len(data)))
    box.sent()


def test_a_box_whose_log_is_not_under_its_head_says_so(box: Box) -> None:
    box.sent()
    box.grow(5)
    (box.folder / "shard-000.nodes").unlink()
    log = box.folder / "shard-000.log"
    log.write_bytes(log.read_bytes()[:-1])
    with pytest.raises(JournalError) as caught:
        box.exchange()
    assert caught.value.code == "journal_broken"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"{" + b" " * 4_000_000 + b"}",
        pytest.param(lambda d: changed(d, format=2), id="format"),
        pytest.param(lambda d: changed(d, more=1), id="member"),
        pytest.param(lambda d: changed(d, head=json.loads(d)["head"] + "\n"), id="spelling"),
        pytest.param(lambda d: changed(d, head="\ud800\n\n— a b\n"), id="surrogate"),
        pytest.param(lambda d: changed(d, head=json.loads(d)["certificate"]), id="no head"),
        pytest.param(lambda d: changed(d, old=[[0, "AAAA"]]), id="root"),
        pytest.param(lambda d: changed(d, old=[[-1, "A" * 43 + "="]]), id="size"),
        pytest.param(lambda d: changed(d, old=[[0, "A" * 43 + "="]]), id="proofs"),
        pytest.param(lambda d: changed(d, proofs=[["A" * 43 + "="] * 65]), id="path"),
        pytest.param(lambda d: changed(d, revocations=["x"] * 1001), id="revocations"),
    ],
)
def test_what_is_no_exchange_is_refused(box: Box, document: bytes | Callable[[bytes], bytes]) -> None:
    error = box.refused(document if isinstance(document, bytes) else document(box.exchange()))
    assert (error.code, error.last) == ("exchange_malformed", None)


def test_a_head_that_was_co_signed_before_is_no_head_of_the_box(box: Box) -> None:
    head = cosigned(Note.parsed(box.forge.joints[-1]), 1, signer("another witness")).written()
    assert box.refused(changed(box.exchange(), head=head)).code == "exchange_malformed"


def test_first_contact_is_not_trust(tmp_path: Path) -> None:
    stranger = Box(Forge("another"), tmp_path / "another", Witness(tmp_path / "witness", KEY))
    stranger.grow()

    assert stranger.refused().code == "witness_unknown"
    with pytest.raises(WitnessError, match="not trusted here"):
        stranger.witness.last(stranger.forge.id, 0)
    with pytest.raises(WitnessError, match="no id"):
        stranger.witness.last("../" + stranger.forge.id, 0)


def test_a_journal_is_trusted_under_one_root(box: Box) -> None:
    box.witness.trust(box.forge.id, box.forge.root.public)
    with pytest.raises(WitnessError) as caught:
        box.witness.trust(box.forge.id, signer("another root").public)
    assert caught.value.code == "witness_pinned"
    box.sent()


def test_a_root_that_is_not_the_one_trusted_certifies_nothing(box: Box) -> None:
    thief = signer("thief")
    forged = Forge()
    forged.root = thief
    certificate = forged.certificate(NEXT_DAY)
    assert box.refused(changed(box.exchange(), certificate=certificate)).code == "exchange_signature"
    # nor does a certificate of the right root for another key, or for another day
    assert box.refused(changed(box.exchange(), certificate=box.forge.certificates[1])).code == "exchange_signature"
    head = box.forge.joint(key=thief)
    assert box.refused(changed(box.exchange(), head=head)).code == "exchange_signature"
    backdated = box.forge.joint(at=midnight(NEXT_DAY) - SECOND, key=box.forge.day_key(NEXT_DAY))
    document = changed(box.exchange(), head=backdated, certificate=box.forge.certificates[1])
    assert box.refused(document).code == "exchange_signature"


def test_a_revocation_is_kept_whoever_sends_heads_after_it(box: Box) -> None:
    box.sent()
    day_key = box.forge.day_key(NEXT_DAY)
    box.forge.at = midnight(NEXT_DAY)
    box.grow()
    by_thief = box.exchange()
    box.forge.certificates.append(box.forge.revocation(day_key, box.forge.at))
    box.write()

    assert box.refused().code == "exchange_signature"
    assert json.loads(by_thief)["revocations"] == []
    assert box.refused(by_thief).code == "exchange_signature"


def test_a_revocation_by_somebody_else_is_none(box: Box) -> None:
    forged = Forge()
    forged.root = signer("thief")
    revocation = forged.revocation(box.forge.day_key(NEXT_DAY), 0)
    box.witness.seen(changed(box.exchange(), revocations=[revocation, "x"]), box.forge.at)
    assert not list(box.folder.parent.glob("witness/journals/*/revocations.json"))


def test_an_exchange_that_begins_elsewhere_is_told_where_to_begin(box: Box) -> None:
    first = box.exchange()
    assert json.loads(first)["old"] == []
    seen = box.sent()
    box.grow()
    error = box.refused(box.exchange_from(None))

    assert error.code == "witness_stale"
    assert error.last is not None
    assert Note.parsed(error.last.head).first() == Note.parsed(seen.head).first()
    known = box.side.keep(error.last.head, error.last.certificate)
    box.witness.seen(box.exchange_from(known), box.forge.at)


def test_a_proof_that_does_not_hold_is_no_evidence(box: Box) -> None:
    box.sent()
    box.grow(4)
    document = json.loads(box.exchange())
    document["proofs"][0][0] = "A" * 43 + "="

    assert box.refused(json.dumps(document).encode()).code == "exchange_proof"
    assert box.forks() == []
    box.sent()


def test_a_fork_is_refused_and_both_heads_are_kept(box: Box) -> None:
    other = Box(Forge(), box.folder.with_name("copy"), box.witness)
    box.sent()
    (other.folder).mkdir()
    other.grow(4)

    # the copy learns what the witness knows, and shows with its own head that it holds something else
    stale = other.refused()
    assert stale.last is not None
    known = other.side.keep(stale.last.head, stale.last.certificate)
    error = other.refused(other.exchange_from(known))
    assert error.code == "witness_fork"
    with pytest.raises(JournalError) as caught:
        other.side.must_hold(known)
    assert caught.value.code == "journal_forked"

    (kept,) = box.forks()
    fork = json.loads(kept.read_bytes())
    assert fork["seen"]["head"] == box.forge.joints[-1]
    assert fork["exchange"]["head"] == other.forge.joints[-1]
    box.grow()
    box.sent()


def test_a_fork_of_the_same_size_is_one_too(box: Box) -> None:
    other = Box(Forge(), box.folder.with_name("copy"), box.witness)
    known = JointHead.parsed(Note.parsed(box.sent().head).text)
    other.grow()
    other.forge.joint()
    other.write()
    assert other.refused(other.exchange_from(known)).code == "witness_fork"


def test_of_two_histories_at_the_same_moment_one_is_co_signed(tmp_path: Path) -> None:
    for number in range(5):
        witness = Witness(tmp_path / f"witness-{number}", KEY)
        boxes = [Box(Forge(), tmp_path / f"{name}-{number}", witness) for name in ("a", "b")]
        witness.trust(boxes[0].forge.id, boxes[0].forge.root.public)
        for records, box in enumerate(boxes):
            box.folder.mkdir()
            box.grow(records + 1)
        with ThreadPoolExecutor(2) as both:
            ended = [both.submit(witness.seen, box.exchange(), box.forge.at) for box in boxes]
        assert sum(one.exception() is None for one in ended) == 1


def test_a_journal_that_went_back_is_refused_and_told(box: Box) -> None:
    before = box.forge.shards[0].bodies[:2]
    box.grow(5)
    box.sent()
    box.forge.shards[0].bodies = [*before]
    box.grow(1)

    error = box.refused()
    assert (error.code, len(box.forks())) == ("witness_fork", 1)
    last = box.side.last()
    assert last is not None
    with pytest.raises(JournalError) as caught:
        box.side.must_hold(last)
    assert caught.value.code == "journal_forked"


def test_a_shard_that_is_gone_is_a_journal_that_went_back(box: Box) -> None:
    box.grow(2, shard=1)
    box.sent()
    box.forge.shards.pop()
    box.grow()
    assert box.refused().code == "witness_fork"


def test_an_old_head_that_comes_late_is_no_fork(box: Box) -> None:
    late = box.exchange()
    box.grow()
    box.sent()
    assert box.refused(late).code == "exchange_time"
    assert box.forks() == []


def test_a_head_from_the_future_or_the_past_is_refused(box: Box) -> None:
    assert box.refused(at=box.forge.at - 3601 * SECOND).code == "exchange_time"
    box.witness.seen(box.exchange(), box.forge.at - 3600 * SECOND)
    box.forge.shards[0].noted()
    box.forge.joint(at=box.forge.at - 60 * SECOND)
    box.write()
    known = JointHead.parsed(Note.parsed(box.forge.joints[-2]).text)
    assert box.refused(box.exchange_from(known)).code == "exchange_time"


def test_evidence_does_not_fill_the_disk(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compliance.witness.store.MAX_FORKS", 2)
    box.grow(5)
    box.sent()
    shard = box.forge.shards[0]
    shard.bodies = shard.bodies[:2]
    for _ in range(4):
        box.forge.joint()
        box.write(nodes=False)
        assert box.refused(box.exchange_from(None)).code == "witness_fork"
    assert len(box.forks()) == 2


def test_what_a_stranger_signed_is_not_kept(box: Box) -> None:
    note = Note.parsed(box.forge.joints[-1])
    foreign = Forge("another")
    for head in (
        note.written(),
        cosigned(note, 1, signer("another witness")).written(),
        cosigned(Note.parsed(foreign.joints[-1]), 1, KEY).written(),
        cosigned(Note.parsed(box.forge.joint(key=signer("thief"))), 1, KEY).written(),
        "no note",
    ):
        with pytest.raises(WitnessError) as caught:
            box.side.keep(head)
        assert caught.value.code == "witness_answer"
    with pytest.raises(WitnessError):
        box.side.keep(cosigned(note, 1, KEY).written(), foreign.certificates[0])
    assert box.side.last() is None


def test_what_another_witness_signed_before_is_not_what_this_one_knows(box: Box) -> None:
    former = signer("former witness")
    Witnessed(box.folder, box.forge.root.public, former.public).keep(
        cosigned(Note.parsed(box.forge.joints[-1]), 1, former).written()
    )
    assert box.side.last() is None
    box.sent()
    assert box.side.last() is not None


def test_a_torn_note_is_written_over(box: Box) -> None:
    box.sent()
    kept = box.folder / "witnessed.notes"
    whole = kept.read_bytes()
    kept.write_bytes(whole + whole[: len(whole) // 2])
    box.grow()
    box.sent()
    assert kept.read_bytes().startswith(whole)
    assert kept.read_text().count("sealpress.witness") == 2


def test_another_journal_is_not_sent(box: Box) -> None:
    with pytest.raises(JournalError) as caught:
        Witnessed(box.folder, signer("another root").public, KEY.public)
    assert caught.value.code == "journal_foreign"
    (box.folder / "journal.heads").write_bytes(b"")
    with pytest.raises(JournalError) as caught:
        box.exchange()
    assert caught.value.code == "journal_broken"


def test_a_store_that_was_damaged_co_signs_nothing(box: Box) -> None:
    box.sent()
    (last,) = box.folder.parent.glob("witness/journals/*/last.json")
    last.write_bytes(b"{}")
    with pytest.raises(Failed, match="not what was written"):
        box.witness.seen(box.exchange(), box.forge.at)
    (root,) = box.folder.parent.glob("witness/journals/*/root")
    root.write_text("ed25519:")
    with pytest.raises(Failed, match="holds no key"):
        box.witness.seen(box.exchange(), box.forge.at)

"""Whatever is written, and however often the journal is closed and taken again: it verifies and reads back the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from compliance.crypto import Signer, Unauthentic
from compliance.journal.records import Closed, Noted, Opened
from compliance.journal.writer import Entry, Journal
from compliance.verify.journal import NotVerified, shards, verify_journal
from compliance.verify.leaf import Broken, Leaf, framed, unframed
from compliance.verify.note import Head, opened, signed
from compliance.verify.shard import head_of, notes
from policies.facts import Outcome
from policies.payload import Payload
from tests.journals import MODEL, NO, YES, JournalBox, a_call, failures

SIGNER = Signer(bytes(range(32)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.builds(Payload, value=JSON, blobs=st.dictionaries(TEXTS, st.binary(max_size=20), max_size=2))
OUTCOMES = st.builds(
    Outcome,
    ok=st.booleans(),
    code=st.none() | TEXTS,
    usage=st.dictionaries(TEXTS, st.integers(0, 2**40), max_size=2),
)
SUBJECTS = st.none() | st.sampled_from(["patient-7", "\u2603"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allow"), SUBJECTS, PAYLOADS),
        st.tuples(st.just("refuse"), SUBJECTS),
        st.tuples(st.just("note"), st.integers(0, 9), st.dictionaries(TEXTS, JSON, max_size=2)),
        st.tuples(st.just("close"), st.integers(0, 9), OUTCOMES),
        st.tuples(st.just("load"), st.dictionaries(TEXTS, JSON, max_size=2)),
        st.tuples(st.just("checkpoint")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("side")),
    ),
    max_size=12,
)


class Writing:
    """Takes the steps, and notes what an auditor must find for each."""

    def __init__(self, box: JournalBox) -> None:
        self._box = box
        self._journal = box.journal()
        self._beside: list[Journal] = []
        self._entries: list[Entry] = []
        self.allowed = 0
        self.refused = 0
        self.expected: list[tuple[object, ...]] = []

    def take(self, step: str, *arguments: Any) -> None:
        take: Callable[..., None] = getattr(self, f"_{step}")
        take(*arguments)

    def end(self) -> int:
        """Close everything; returns how many calls are without an outcome."""
        for journal in [self._journal, *self._beside]:
            journal.close()
        return len(self._entries)

    def _allow(self, subject: str | None, payload: Payload) -> None:
        call = a_call(self._journal, subject=subject)
        self._entries.append(self._journal.opened(call, MODEL, YES, payload))
        self.allowed += 1
        self.expected.append(("opened", call, True, payload))

    def _refuse(self, subject: str | None) -> None:
        call = a_call(self._journal, subject=subject, purpose=None)
        self._journal.opened(call, MODEL, NO, Payload(value=None))
        self.refused += 1
        self.expected.append(("opened", call, False, None))

    def _note(self, which: int, data: dict[str, object]) -> None:
        if self._entries:
            self._journal.noted(self._entries[which % len(self._entries)], "chunk", data)
            self.expected.append(("noted", "chunk", data))

    def _close(self, which: int, outcome: Outcome) -> None:
        if self._entries:
            entry = self._entries.pop(which % len(self._entries))
            self._journal.closed(entry, outcome)
            self.expected.append(("closed", entry.call.id, outcome))

    def _load(self, about: dict[str, object]) -> None:
        self._journal.loaded("clinic", about)
        self.expected.append(("noted", "loaded", about))

    def _checkpoint(self) -> None:
        self._journal.checkpoint()

    def _restart(self) -> None:
        self._journal.close()
        self._journal = self._box.journal()

    def _side(self) -> None:
        """From here on another shard is written, while the one before is still held."""
        self._beside.append(self._journal)
        self._journal = self._box.journal()


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_any_sequence_verifies_and_reads_back(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        box = JournalBox.make(Path(folder) / "box", signer=SIGNER)
        writing = Writing(box)
        for step, *arguments in steps:
            writing.take(step, *arguments)
        open_calls = writing.end()
        found = box.verify()
        assert (found.allowed, found.refused) == (writing.allowed, writing.refused)
        assert (found.unfinished, found.unsealed) == (open_calls, 0)
        read: list[tuple[object, ...]] = []
        for record in box.read():
            match record.metadata:
                case Opened(call=call, allowed=allowed):
                    read.append(("opened", call, allowed, record.payload))
                case Noted(kind=kind, data=data):
                    read.append(("noted", kind, data))
                case Closed(call=id_, outcome=outcome):
                    read.append(("closed", id_, outcome))
        assert sorted(map(repr, read)) == sorted(map(repr, writing.expected))
        if len(shards(box.directory)) == 1:
            assert read == writing.expected


@given(st.binary(max_size=400))
@example(b"")
def test_any_bytes_are_a_leaf_or_broken(body: bytes) -> None:
    with suppress(Broken):
        assert Leaf.parsed(body).body() == body


@given(st.binary(max_size=200), st.integers(0, 250))
def test_any_bytes_are_a_record_or_broken(log: bytes, offset: int) -> None:
    offset = min(offset, len(log))
    with suppress(Broken):
        body, end = unframed(memoryview(log), offset)
        assert log[offset:end] == framed(body)


@given(st.binary(max_size=200))
def test_a_framed_body_is_unframed(body: bytes) -> None:
    assert unframed(memoryview(framed(body)), 0) == (body, len(body) + 20)


@given(TEXTS)
def test_any_text_is_no_note(text: str) -> None:
    for note in (text, signed("text\n", SIGNER) + text, text + signed("text\n", SIGNER)):
        with suppress(Unauthentic):
            assert signed(opened(note, SIGNER.public), SIGNER) == note


@given(st.lists(TEXTS | st.from_regex(r"(at |counters |-)?[0-9_{}\[\]\":a-z]{0,8}"), max_size=6).map("\n".join))
def test_any_text_is_a_head_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert Head.parsed(text).text() == text


@given(st.binary(max_size=300))
@example(b"\n" * 8)
@example(b"\xff\n" * 7 + b"\n")
def test_any_file_of_heads_is_broken(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard-000.heads"
        path.write_bytes(content)
        with suppress(Broken):
            for note, _ in notes(path):
                head_of(note, "origin", SIGNER.public)
                raise AssertionError("nobody signed this")


@settings(max_examples=60)
@given(st.binary(max_size=300), st.binary(max_size=300), st.booleans())
def test_any_journal_is_refused_in_the_verifiers_own_words(log: bytes, heads: bytes, signed_page: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        note = signed(f"sealpress.journal/{'0' * 32}\nmade 2025-11-23T00:00:00+00:00\n", SIGNER)
        directory.joinpath("journal.note").write_bytes(note.encode() if signed_page else heads)
        directory.joinpath("shard-000.log").write_bytes(log)
        directory.joinpath("shard-000.heads").write_bytes(heads)
        if signed_page and not log and not heads:
            assert verify_journal(directory, SIGNER.public).records == 0
        else:
            assert {code for _, code in failures(directory, SIGNER.public)} <= set(NotVerified.hints)

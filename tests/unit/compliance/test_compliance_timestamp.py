"""Tokens of time: what holds, what is asked of an authority, and what of its answers is kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from compliance.evidence.make import Papers, make
from compliance.evidence.period import bounds
from compliance.timestamps import TimestampError, ask, kept_in, roots_of, take
from compliance.verify import alone as verifier
from compliance.verify import der
from compliance.verify.authority import roots_in
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from compliance.verify.leaf import Broken
from compliance.verify.note import Note
from compliance.verify.spoken import said
from compliance.verify.statements import JointHead, key_text
from compliance.verify.timestamp import Kept, imprint
from tests.authorities import TimeAuthority
from tests.periods import Period
from tests.stamps import AUTHORITY, HOUR, NONCE, kept, stamped, told_of


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    return stamped(tmp_path_factory.mktemp("period") / "journal")


def evidence(period: Period, path: Path, *tokens: Kept) -> Path:
    papers = Papers(period.folder / "policies", (), None, {"name": "clinic"}, {}, {}, tokens)
    found = bounds(period.folder, None, None)
    make(path, period.folder, found, period.walk(), period.source(), papers)
    return path


def test_a_token_over_a_head_holds_and_is_said_by_both_programs(
    period: Period, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = told_of(period), kept(period.kept["joint within"])
    path = evidence(period, tmp_path / "e.zip", one, other)
    found = verify_evidence(path, period.root, tsa_roots=AUTHORITY.roots)
    assert [(stamp.token, stamp.chained) for stamp in found.timestamps] == [(one.digest, True), (other.digest, True)]
    assert found.timestamps[0].at == one.head.at + HOUR
    assert "The authority CN=Test authority stamped the head of" in said(found)
    root = tmp_path / "root.pem"
    root.write_bytes(AUTHORITY.pem)
    assert verifier.main([str(path), "--key", key_text(period.root), "--tsa-root", str(root)]) == 0
    assert said(found) in capsys.readouterr().out
    # without a root of the auditor's the chain is not checked, and that is said
    assert verifier.main([str(path), "--key", key_text(period.root)]) == 0
    assert "its chain was not checked, since you gave no root" in capsys.readouterr().out


def test_a_root_that_is_none_is_refused_by_the_program(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text("no certificate")
    with pytest.raises(SystemExit):
        verifier.main(["e.zip", "--key", "0" * 64, "--tsa-root", str(tmp_path / "root.pem")])


def test_no_flipped_bit_of_a_token_passes(period: Period) -> None:
    one = told_of(period)
    for place in range(0, len(one.token)):
        flipped = one.token[:place] + bytes([one.token[place] ^ 1]) + one.token[place + 1 :]
        changed = Kept(one.note, one.head, NONCE, flipped)
        try:
            found = changed.check(AUTHORITY.roots)
        except Broken:
            continue
        # what no signature covers in CMS, and says nothing: versions and lists of algorithms around the content
        assert (found.at, found.head, found.authority) == (
            one.head.at + HOUR,
            imprint(one.note).hex(),
            "CN=Test authority",
        )


def test_a_request_is_answered_checked_and_kept_once(period: Period, tmp_path: Path) -> None:
    note = period.kept["joint after"]
    head = JointHead.parsed(Note.parsed(note).text)
    request = ask(tmp_path, note)
    response = AUTHORITY.answer(request, head.at + HOUR)
    assert take(tmp_path, response, AUTHORITY.roots).chained
    [one] = kept_in(tmp_path)
    assert one.note.written() == Note.parsed(note).first().written()
    assert not list((tmp_path / "requests").iterdir())
    with pytest.raises(TimestampError) as refusal:
        take(tmp_path, response, AUTHORITY.roots)
    assert refusal.value.code == "timestamp_unasked"


def test_what_an_authority_answers_is_checked_before_it_is_kept(period: Period, tmp_path: Path) -> None:
    note, other = period.kept["joint after"], period.kept["joint within"]
    at = JointHead.parsed(Note.parsed(note).text).at + HOUR
    request = ask(tmp_path, note)
    replayed = AUTHORITY.answer(ask(tmp_path / "elsewhere", note), at)
    of_another = AUTHORITY.answer(ask(tmp_path / "elsewhere", other), at)
    refusal = der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, der.integer(2)))
    empty = der.encoded(der.SEQUENCE, der.encoded(der.SEQUENCE, der.integer(0)))
    thief = TimeAuthority("A thief").answer(request, at)
    for response, code in (
        (replayed, "timestamp_nonce"),
        (of_another, "timestamp_imprint"),
        (thief, "timestamp_chain"),
        (b"no answer", "timestamp_malformed"),
        (empty, "timestamp_malformed"),
    ):
        with pytest.raises(NotVerified) as failed:
            take(tmp_path, response, AUTHORITY.roots)
        assert failed.value.code == code
    with pytest.raises(TimestampError) as unwilling:
        take(tmp_path, refusal, AUTHORITY.roots)
    assert unwilling.value.code == "timestamp_refused"
    assert kept_in(tmp_path) == ()
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(NotVerified):
        kept_in(tmp_path)


def test_roots_are_certificates_in_pem(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(AUTHORITY.pem)
    (tmp_path / "b.pem").write_text("nothing")
    assert roots_of([tmp_path / "a.pem", tmp_path / "a.pem"]) == AUTHORITY.roots * 2
    for name in ("b.pem", "c.pem"):
        with pytest.raises(TimestampError) as refusal:
            roots_of([tmp_path / name])
        assert refusal.value.code == "timestamp_roots"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to compare with")
def test_openssl_reads_what_is_asked(period: Period, tmp_path: Path) -> None:
    note = Note.parsed(period.kept["joint after"]).first()
    (tmp_path / "head.tsq").write_bytes(ask(tmp_path, note.written()))
    said = subprocess.run(
        ["openssl", "ts", "-query", "-in", "head.tsq", "-text"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "Hash Algorithm: sha256" in said
    assert "Certificate required: yes" in said


def test_the_golden_token_holds_which_openssl_made() -> None:
    vectors = Path(__file__).parents[2] / "vectors" / "timestamps"
    one = Kept.parsed((vectors / "format-1.json").read_bytes())
    assert one.check(roots_in((vectors / "format-1.root.pem").read_bytes())).authority == "CN=TSA"

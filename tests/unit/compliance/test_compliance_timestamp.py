"""Tokens of time: what holds, and for each way in which one does not its reason."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

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
from compliance.verify.timestamp import CLOCKS, MAX_AGE, Kept, imprint
from tests.authorities import TimeAuthority
from tests.forge import SECOND, Forge, ForgedShard
from tests.periods import Period, parts_of, zipped

NONCE = 0x5EA1
HOUR = 3600 * SECOND
AUTHORITY = TimeAuthority()


def kept(note: str, *, authority: TimeAuthority = AUTHORITY, after: int = HOUR, **changes: int | bytes) -> Kept:
    head = Note.parsed(note).first()
    at = JointHead.parsed(head.text).at
    token = authority.token(imprint(head), NONCE, at + after)
    fields = {"note": head, "head": JointHead.parsed(head.text), "nonce": NONCE, "token": token} | changes
    return Kept(**fields)  # type: ignore[arg-type]  # the fields by their names


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    """A journal that tells of a token over a head within the period of its evidence."""

    def tells(shard: ForgedShard) -> None:
        # what holds of any forged journal: the head before this note is the first of the period
        one = kept(shard.forge.joints[-1])
        told.append(one)
        shard.noted("timestamped", {"token": one.digest, "head": imprint(one.note).hex(), "head_at": one.head.at})

    told: list[Kept] = []
    return Period.forged(tmp_path_factory.mktemp("period") / "journal", odd=tells)


def evidence(period: Period, path: Path, *tokens: Kept) -> Path:
    papers = Papers(period.folder / "policies", (), None, {"name": "clinic"}, {}, {}, tokens)
    found = bounds(period.folder, None, None)
    make(path, period.folder, found, period.walk(), period.source(), papers)
    return path


def refused(path: Path, period: Period, roots: tuple[bytes, ...] | None = AUTHORITY.roots) -> str:
    with pytest.raises(NotVerified) as refusal:
        verify_evidence(path, period.root, tsa_roots=roots)
    [(_, code)] = refusal.value.failures
    return code


def told_of(period: Period) -> Kept:
    """The token that the journal tells of."""
    within = period.forge.joints.index(period.kept["joint within"])
    return kept(period.forge.joints[within - 1])


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


def test_a_removed_token_is_missed(period: Period, tmp_path: Path) -> None:
    path = evidence(period, tmp_path / "e.zip", told_of(period))
    parts = {name: content for name, content in parts_of(path).items() if not name.startswith("timestamps/")}
    assert refused(zipped(tmp_path / "m.zip", parts), period) == "timestamp_missing"


def _other_authority() -> TimeAuthority:
    return TimeAuthority("A thief")


FLAWS: dict[str, tuple[str, Callable[[str], Kept]]] = {
    "another imprint": (
        "timestamp_imprint",
        lambda note: kept(note, token=AUTHORITY.token(bytes(32), NONCE, JointHead.parsed(Note.parsed(note).text).at)),
    ),
    "another nonce": ("timestamp_nonce", lambda note: kept(note, nonce=NONCE + 1)),
    "no nonce": (
        "timestamp_nonce",
        lambda note: kept(
            note,
            token=AUTHORITY.token(imprint(Note.parsed(note)), None, JointHead.parsed(Note.parsed(note).text).at),
        ),
    ),
    "older than the head": ("timestamp_early", lambda note: kept(note, after=-CLOCKS - SECOND)),
    "long behind the head": ("timestamp_late", lambda note: kept(note, after=MAX_AGE + SECOND)),
    "an expired certificate": (
        "timestamp_chain",
        lambda note: kept(
            note,
            authority=TimeAuthority(until=_head_day(note) - timedelta(days=1)),
        ),
    ),
    "a certificate of tomorrow": (
        "timestamp_chain",
        lambda note: kept(note, authority=TimeAuthority(since=_head_day(note) + timedelta(days=2))),
    ),
    "an authority that nobody trusts": ("timestamp_chain", lambda note: kept(note, authority=_other_authority())),
    "a certificate for servers": (
        "timestamp_usage",
        lambda note: kept(note, authority=TimeAuthority(usage=((ExtendedKeyUsageOID.SERVER_AUTH,), True))),
    ),
    "a certificate for more than time": (
        "timestamp_usage",
        lambda note: kept(
            note,
            authority=TimeAuthority(usage=((ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH), True)),
        ),
    ),
    "a certificate that may be read as for all": (
        "timestamp_usage",
        lambda note: kept(note, authority=TimeAuthority(usage=((ExtendedKeyUsageOID.TIME_STAMPING,), False))),
    ),
    "a certificate for nothing": ("timestamp_usage", lambda note: kept(note, authority=TimeAuthority(usage=None))),
    "another certificate in the signed attributes": (
        "timestamp_signature",
        lambda note: kept(
            note,
            token=AUTHORITY.token(
                imprint(Note.parsed(note)), NONCE, JointHead.parsed(Note.parsed(note).text).at, named=bytes(32)
            ),
        ),
    ),
}


def _head_day(note: str) -> datetime:
    return datetime.fromtimestamp(JointHead.parsed(Note.parsed(note).text).at // SECOND, UTC)


@pytest.mark.parametrize("name", FLAWS)
def test_a_token_that_does_not_hold_is_refused_with_its_reason(period: Period, tmp_path: Path, name: str) -> None:
    code, flawed = FLAWS[name]
    one = flawed(period.kept["joint within"])
    path = evidence(period, tmp_path / "e.zip", told_of(period), one)
    assert refused(path, period) == code
    with pytest.raises(Broken) as refusal:
        one.check(AUTHORITY.roots)
    assert refusal.value.code == code


def test_a_token_of_another_head_beside_this_one_is_of_another_imprint(period: Period) -> None:
    one, other = kept(period.kept["joint within"]), kept(period.kept["joint after"])
    with pytest.raises(Broken) as refusal:
        Kept(one.note, one.head, NONCE, other.token).check(None)
    assert refusal.value.code == "timestamp_imprint"


def test_a_head_of_another_history_is_refused(period: Period, tmp_path: Path) -> None:
    parts = parts_of(evidence(period, tmp_path / "e.zip", told_of(period)))
    head = JointHead.parsed(Note.parsed(period.kept["joint within"]).text)
    (size, _), *rest = head.shards
    forge: Forge = period.forge
    rewritten = forge.by_day(JointHead(head.id, head.at, ((size, bytes(32)), *rest)).text(), head.at)
    foreign = Forge("other")
    foreign.shard().epoch()
    for note in (rewritten, foreign.joint()):
        one = kept(note)
        mutated = parts | {f"timestamps/{one.digest}.json": one.written()}
        assert refused(zipped(tmp_path / f"{one.digest[:8]}.zip", mutated), period) == "timestamp_head"


def test_a_file_in_another_spelling_or_under_another_name_is_refused(period: Period, tmp_path: Path) -> None:
    one = told_of(period)
    parts = parts_of(evidence(period, tmp_path / "e.zip", one))
    name = f"timestamps/{one.digest}.json"
    for number, content in enumerate((one.written() + b" ", one.written()[:-9], b"{}", b"\xff")):
        path = zipped(tmp_path / f"{number}.zip", parts | {name: content})
        assert refused(path, period) == "timestamp_malformed"
    path = zipped(tmp_path / "n.zip", parts | {f"timestamps/{'0' * 64}.json": one.written()})
    assert refused(path, period) == "timestamp_malformed"


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
    thief = _other_authority().answer(request, at)
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

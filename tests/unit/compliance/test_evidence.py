"""Evidence of a period: what is in it, what never is, and what becomes of it when a subject is erased."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cryptography
import pytest

from compliance.crypto import Unauthentic, sha256
from compliance.evidence.alone import alone
from compliance.evidence.errors import EvidenceError
from compliance.evidence.period import bounds
from compliance.evidence.reading import read
from compliance.journal.records import contribution, open_record
from compliance.verify import alone as verifier
from compliance.verify.attached import wanted
from compliance.verify.counts import Counts
from compliance.verify.errors import NotVerified
from compliance.verify.evidence import verify_evidence
from compliance.verify.spoken import said, value_of
from compliance.verify.statements import key_text
from tests.forge import SECOND
from tests.periods import POLICY, WITNESS, Period, claims_of, grant_of, override_of, parts_of, with_claims, zipped
from tests.vectors.attacks_on_evidence import evidence_case

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def period(tmp_path_factory: pytest.TempPathFactory) -> Period:
    return Period.forged(tmp_path_factory.mktemp("period") / "journal")


@pytest.fixture(scope="module")
def file(period: Period) -> Path:
    path = period.folder.parent / "evidence.zip"
    period.make(path)
    return path


def test_the_same_leaves_give_the_same_bytes(period: Period, file: Path, tmp_path: Path) -> None:
    period.make(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_it_is_what_a_plain_reader_of_zip_finds_as_well(file: Path) -> None:
    with zipfile.ZipFile(file) as found:
        assert found.testzip() is None
        assert found.namelist()[-1] == "evidence.json"


def test_no_payload_no_salt_and_no_key_is_in_it(period: Period, file: Path) -> None:
    content = file.read_bytes()
    assert b"secret" not in content
    for salt in period.forge.salts.values():
        assert salt not in content
    for located in period.walk():
        assert located.chain not in content
        salt = period.forge.salts[located.row]
        assert contribution(salt, located.journal, *located.place) not in content


def test_what_cannot_be_opened_stays_closed_and_the_rest_is_shown(tmp_path: Path) -> None:
    erased = Period.forged(tmp_path / "journal", erased="patient-9")
    found = erased.make(tmp_path / "e.zip")
    assert found.counts["unread"] == {"allowed not_released": 1}
    verified = verify_evidence(tmp_path / "e.zip", erased.root, head=erased.kept["joint after"])
    evidence = read(tmp_path / "e.zip", verified)
    assert [(one.why, one.allowed, one.records) for one in evidence.unread] == [("not_released", 1, 1)]
    assert "Not opened, as whoever made this says: 1 allowed not_released." in said(verified)


def test_evidence_from_before_an_erasure_still_holds_and_opens_no_payload(tmp_path: Path) -> None:
    period = Period.forged(tmp_path / "journal")
    period.make(tmp_path / "old.zip")
    old = (tmp_path / "old.zip").read_bytes()
    row = period.forge.salt("patient-9")[0]
    [located] = [one for one in period.walk() if one.row == row]
    del period.forge.salts[row]
    # later evidence of the same journal is about the same tree
    period.make(tmp_path / "new.zip")
    for name in ("old.zip", "new.zip"):
        verify_evidence(tmp_path / name, period.root, head=period.kept["joint after"], witness=WITNESS.public)
    # with every key there is, and all bytes of the evidence as what a salt could give
    with pytest.raises(Unauthentic):
        open_record(located.body, located.journal, located.chain, bytes(32))
    for start in range(0, len(old) - 32, 97):
        with pytest.raises(Unauthentic):
            open_record(located.body, located.journal, located.chain, old[start : start + 32])
    assert b"secret" not in old


def test_a_period_is_rounded_out_to_signed_heads(period: Period) -> None:
    found = bounds(period.folder, period.since, period.until)
    assert (found.since, found.until) == (period.since, period.until)
    assert found.records == 24
    whole = bounds(period.folder, None, None)
    assert whole.records == sum(len(shard.bodies) for shard in period.forge.shards)
    # what is not signed yet is in no evidence
    assert bounds(period.folder, None, period.until + 86_400 * SECOND).until == whole.until


@pytest.mark.parametrize(("since", "until"), [(2**62, None), (1000 * SECOND, 10 * SECOND)])
def test_a_period_with_nothing_in_it_is_refused(period: Period, since: int, until: int | None) -> None:
    with pytest.raises(EvidenceError) as refusal:
        bounds(period.folder, since, until)
    assert refusal.value.code == "evidence_empty"


def test_nothing_is_overwritten_and_no_foreign_head_is_proved(period: Period, file: Path, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError) as refusal:
        period.make(file)
    assert refusal.value.code == "evidence_exists"
    other = Period.forged(tmp_path / "other", name="other")
    for head in ("no head", other.kept["after"]):
        with pytest.raises(EvidenceError) as refusal:
            period.make(tmp_path / "e.zip", heads=(head,))
        assert refusal.value.code == "evidence_head"
    assert not list(tmp_path.glob("*e.zip*"))


def test_what_a_report_sees_is_what_was_verified(period: Period, file: Path) -> None:
    verified = verify_evidence(file, sha256(period.root).hex(), head=period.kept["within"])
    evidence = read(file, verified)
    assert evidence.digest == sha256(file.read_bytes()).hex()
    assert evidence.box.journal == period.forge.id
    assert evidence.box.declared == {"name": "clinic"}
    assert len(evidence.calls) == len(list(evidence.calls)) == len(list(evidence.calls)) == 12
    assert sum(call.allowed for call in evidence.calls) == verified.counts["records"]["allowed"]
    assert [call.record for call in evidence.calls if call.allowed and call.outcome is None] == ["shard-000/27"]
    assert next(iter(evidence.calls)) in evidence.calls
    assert [told.kind for told in evidence.earlier] == [
        "loaded",
        "usage_grant_imported",
        "override_opened",
        "policy_changed",
    ]
    assert [told.data for told in evidence.erasures] == [{"erasure": "ab", "rows": 2}]
    assert [policy.digest for policy in evidence.policies] == [POLICY]
    assert evidence.policies[0].purposes["search"].retain_days == 180
    assert [grant.terms.issuer for grant in evidence.grants] == ["a lab"]
    assert [(test.kind, test.about) for test in evidence.tests] == [
        ("measurement", "ab" * 32),
        ("policy_cases", POLICY),
        ("policy_proof", POLICY),
    ]
    assert evidence.tests[1].data == {"cases.toml": {"sha256": "ab" * 32, "passed": 3}}
    assert evidence.witnessed
    assert evidence.gaps == 0
    assert len(evidence.auditors) == 1
    assert {key.revoked for key in evidence.keys} == {None}


def test_a_signed_file_that_is_not_here_is_counted(period: Period, file: Path, tmp_path: Path) -> None:
    parts = parts_of(file)
    assert verify_evidence(file, period.root).unsigned == 0
    for folder in ("grants/", "overrides/", "declarations/"):
        [name] = [name for name in parts if name.startswith(folder)]
        claims = claims_of(parts)
        claims["papers"].remove(name)
        claims["absent"].append(name)
        fewer = with_claims({other: content for other, content in parts.items() if other != name}, claims)
        found = verify_evidence(zipped(tmp_path / f"{folder[:-1]}.zip", fewer), period.root)
        assert found.unsigned == 1
        assert "1 grants, overrides or declarations" in said(found)


def test_a_signed_file_that_is_missing_under_the_first_format_is_counted(
    period: Period, file: Path, tmp_path: Path
) -> None:
    """That format did not say which files the box had no more; nobody gains by giving it out for what it is not."""
    parts, claims = parts_of(file), claims_of(parts_of(file))
    del claims["papers"], claims["absent"]
    fewer = {name: content for name, content in parts.items() if not name.startswith(("grants/", "overrides/"))}
    for kept, unsigned in ((parts, 0), (fewer, 2)):
        old = zipped(tmp_path / f"{unsigned}.zip", with_claims(kept, claims | {"format": 1}))
        assert verify_evidence(old, period.root).unsigned == unsigned


def test_a_grant_that_the_box_lost_is_said_to_be_absent(
    period: Period, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one in its place that is not what was told."""
    for name, grant in (
        ("forged", grant_of(period.forge.id, "a forger")),
        ("other", grant_of(period.forge.id, id="7" * 32)),
    ):
        monkeypatch.setattr(Period, "grant", grant)
        period.make(tmp_path / f"{name}.zip")
        parts = parts_of(tmp_path / f"{name}.zip")
        assert claims_of(parts)["absent"] == [f"grants/{'0' * 32}.json"]
        assert not [name for name in parts if name.startswith("grants/")]
        assert verify_evidence(tmp_path / f"{name}.zip", period.root).unsigned == 1


def test_a_grant_that_was_over_before_the_period_is_not_missed() -> None:
    counts = Counts()
    counts.told = {"grants/a.json": [{"starts": 3, "ends": 10}], "overrides/b.json": [{"starts": 3, "ends": 10}]}
    for since, until, missed in ((10, 20, False), (9, 20, True), (0, 3, True), (0, 2, False)):
        assert ("grants/a.json" in wanted(counts, (), since, until)) is missed
        assert "overrides/b.json" in wanted(counts, (), since, until)
    counts.named = {"grants/a.json"}
    assert "grants/a.json" in wanted(counts, (), 10, 20)


@pytest.mark.parametrize("persons", [("ann",), ("ann", "cyd")])
def test_a_file_that_does_not_hold_is_left_out(
    period: Period, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persons: tuple[str, ...]
) -> None:
    """What whoever has the disk made of it, or an approver whose key the settings name no more, refuses no evidence."""
    monkeypatch.setattr(Period, "override", override_of(period.forge.id, *persons))
    period.make(tmp_path / "e.zip")
    assert not [name for name in parts_of(tmp_path / "e.zip") if name.startswith("overrides/")]
    assert verify_evidence(tmp_path / "e.zip", period.root).unsigned == 1


def test_the_sample_is_chosen_by_the_nonce_alone(period: Period, file: Path) -> None:
    def sampled(nonce: str | None) -> list[str]:
        return [one.record for one in verify_evidence(file, period.root, nonce=nonce).sample]

    assert sampled(None) == []
    assert sampled("one") == sampled("one") != sampled("other")


def test_a_journal_that_began_within_the_period_is_whole_from_its_begin(period: Period, tmp_path: Path) -> None:
    period.make(tmp_path / "whole.zip", whole=True)
    asked = period.since - 86_400 * SECOND, period.until
    found = verify_evidence(tmp_path / "whole.zip", period.root, period=asked)
    assert found.claimed.since > asked[0]
    assert found.counts["records"]["epoch"] == 2


def test_without_a_head_from_outside_it_is_unwitnessed(period: Period, file: Path) -> None:
    found = verify_evidence(file, period.root)
    assert "Unwitnessed" in said(found)
    assert not value_of(found)["witnessed"]
    kept = verify_evidence(file, period.root, head=period.kept["before"])
    assert "Unwitnessed" not in said(kept)
    assert value_of(kept)["witnessed"]


@pytest.mark.parametrize(
    "flaw", ["behind", "before", "twice", "comment", "packed", "date", "flag", "name", "list", "no zip"]
)
def test_a_zip_in_another_spelling_is_refused(period: Period, file: Path, tmp_path: Path, flaw: str) -> None:
    parts, odd = parts_of(file), tmp_path / "odd.zip"
    if flaw in ("comment", "packed", "twice", "date"):
        with zipfile.ZipFile(odd, "w", zipfile.ZIP_DEFLATED if flaw == "packed" else zipfile.ZIP_STORED) as out:
            out.comment = b"x" if flaw == "comment" else b""
            for name, content in parts.items():
                out.writestr(zipfile.ZipInfo(name, (1999 if flaw == "date" else 1980, 1, 1, 0, 0, 0)), content) if (
                    flaw != "packed"
                ) else out.writestr(name, content)
            if flaw == "twice":
                with pytest.warns(UserWarning, match="Duplicate name"):
                    out.writestr(zipfile.ZipInfo("heads.notes", (1980, 1, 1, 0, 0, 0)), b"")
    else:
        content = zipped(tmp_path / "plain.zip", parts).read_bytes()
        listed = content.index(b"PK\x01\x02")
        odd.write_bytes(
            {
                "behind": content + b"\0",
                "before": b"\0" + content,
                "flag": content[:6] + b"\1" + content[7:],
                "name": content.replace(b"journal.note", b"journal.nota", 1),
                "list": content[:listed] + content[listed:].replace(b"heads.notes", b"heads.notez"),
                "no zip": b"no zip",
            }[flaw]
        )
    with pytest.raises(NotVerified) as refusal:
        verify_evidence(odd, period.root)
    assert [" ".join(failure) for failure in refusal.value.failures] == ["evidence evidence_malformed"]


def test_a_flipped_bit_anywhere_is_refused(period: Period, file: Path, tmp_path: Path) -> None:
    content, odd = bytearray(file.read_bytes()), tmp_path / "odd.zip"
    for offset in range(0, len(content), len(content) // 150):
        content[offset] ^= 4
        odd.write_bytes(content)
        content[offset] ^= 4
        with pytest.raises(NotVerified):
            verify_evidence(odd, period.root, head=period.kept["joint after"])


def test_the_verifier_alone_needs_cryptography_only(period: Period, file: Path, tmp_path: Path) -> None:
    program, head = tmp_path / "audit.pyz", tmp_path / "kept.head"
    program.write_bytes(alone())
    head.write_text(period.kept["within"], "utf-8")
    assert program.read_bytes() == alone()
    assert program.stat().st_size <= 300_000
    with zipfile.ZipFile(program) as found:
        for name in found.namelist():
            if name.startswith("compliance/verify/"):
                assert found.read(name) == (ROOT / name).read_bytes()
    installed = tmp_path / "installed"
    installed.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        for found_at in Path(cryptography.__file__).parents[1].glob(f"{name}*"):
            (installed / found_at.name).symlink_to(found_at)

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ALONE, str(installed), str(program), str(file), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            check=False,
        )

    held = ran("--key", sha256(period.root).hex(), "--head", str(head), "--nonce", "seven blue cups")
    assert (held.returncode, held.stderr) == (0, "")
    assert "The head you hold is one of the same history." in held.stdout
    refused = ran("--key", "0" * 64)
    assert (refused.returncode, refused.stderr) == (1, "")
    assert "NOT VERIFIED\n  journal.note: genesis_signature:" in refused.stdout


_ALONE = """
import runpy, sys
sys.path = [path for path in sys.path if "site-packages" not in path] + [sys.argv[1]]
program = sys.argv[2]
sys.argv = sys.argv[2:]
runpy.run_path(program, run_name="__main__")
"""


def test_the_verifier_alone_says_what_it_needs(tmp_path: Path) -> None:
    program = tmp_path / "audit.pyz"
    program.write_bytes(alone())
    ran = subprocess.run([sys.executable, "-I", "-S", str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("audit.pyz needs Python 3.11 and cryptography 50")


def test_the_verifier_alone_says_the_same_as_json(
    period: Period, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(file), "--key", key_text(period.root), "--witness", key_text(WITNESS.public), "--json"]
    assert verifier.main(arguments) == 0
    assert '"ok": true' in capsys.readouterr().out
    assert verifier.main([*arguments[:2], "0" * 64, "--json"]) == 1
    assert '"code": "genesis_signature"' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        verifier.main([*arguments, "--head", "nowhere"])
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("form", [1, 2])
def test_evidence_that_was_written_in_a_format_stays_readable(form: int) -> None:
    folder = ROOT / "tests" / "vectors" / "evidence" / f"golden-v{form}"
    root = (folder / "root").read_text("utf-8").strip()
    found = verify_evidence(folder / "evidence.zip", root, head=(folder / "kept.head").read_text("utf-8"), nonce="a")
    claims = claims_of(parts_of(folder / "evidence.zip"))
    assert (claims["format"], claims["counts"]) == (form, found.counts)
    assert found.unsigned == 0
    assert found.given


def test_the_case_of_the_attacks_is_one_that_holds(tmp_path: Path) -> None:
    case = evidence_case()
    verify_evidence(zipped(tmp_path / "e.zip", case.parts), case.forge.root.public)

"""The second verifier, a page written from docs/formats.md alone: in Chromium, on journals with known answers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from compliance.verify.evidence import verify_evidence
from compliance.verify.journal import NotVerified, verify_journal
from compliance.verify.statements import key_text
from tests.browser import BYTES, PAGE, Browser, ask_evidence, press, refusals
from tests.forge import signer
from tests.periods import WITNESS, claims_of, parts_of, with_claims, zipped
from tests.vectors.attacks_on_evidence import Given, evidence_case, mutations
from tests.vectors.mutations import sample

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
JOURNALS = sorted(path.parent for path in VECTORS.glob("journals/*/expected.json"))
RECEIPTS = sorted(VECTORS.glob("receipts/*.json"))
COUNTS = {"records", "allowed", "refused", "closed", "unfinished"}


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def coded(path: Path | None) -> str | None:
    return base64.b64encode(path.read_bytes()).decode() if path else None


def ask(browser: Browser, root: str, files: dict[str, bytes], **outside: str | None) -> Any:
    """What the page says about the files of a journal; `head` and `revocations` are in base64."""
    coded_files = {name: base64.b64encode(content).decode() for name, content in files.items()}
    given = {"root": root, "files": coded_files, "head": None, "revocations": None, **outside}
    return browser.run(
        f"(({{files, head, revocations, ...known}}) => {{ {BYTES} return window.sealpressVerify({{...known,"
        "files: new Map(Object.entries(files).map(([name, text]) => [name, bytes(text)])),"
        f"head: bytes(head), revocations: bytes(revocations)}}) }})({json.dumps(given)})"
    )


def verify(browser: Browser, case: Path) -> Any:
    """What the page says about the journal of a case."""
    expected = read(case / "expected.json")
    files = {path.name: path.read_bytes() for path in (case / "journal").iterdir()}
    outside = {name: coded(case / expected[name] if expected[name] else None) for name in ("head", "revocations")}
    return ask(browser, expected["root"], files, witness=expected["witness"], **outside)


def test_there_are_journals_and_receipts_that_hold_and_that_do_not() -> None:
    for files in ([case / "expected.json" for case in JOURNALS], RECEIPTS):
        answers = [read(path)["failures"] for path in files]
        assert [] in answers
        assert any(answers)


@pytest.mark.parametrize("case", JOURNALS, ids=lambda case: case.name)
def test_the_page_says_of_a_journal_what_is_known(browser: Browser, case: Path) -> None:
    expected = read(case / "expected.json")
    answer = verify(browser, case)
    assert answer["failures"] == expected["failures"]
    assert COUNTS.isdisjoint(expected) or {name: answer[name] for name in COUNTS} == {
        name: expected[name] for name in COUNTS
    }
    assert (answer["witnessed"] is None) == (expected["witness"] is None)


def test_the_page_says_up_to_where_a_witness_signed(browser: Browser) -> None:
    answer = verify(browser, VECTORS / "journals" / "golden-witnessed")
    assert answer["witnessed"]["unknown"] == 0
    assert 0 <= answer["witnessed"]["number"] <= answer["heads"]["joint"]["number"]


@pytest.mark.parametrize("path", RECEIPTS, ids=lambda path: path.stem)
def test_the_page_says_of_a_receipt_what_is_known(browser: Browser, path: Path) -> None:
    case = read(path)
    given = json.dumps({"receipt": json.dumps(case["receipt"]), "root": case["root"], "head": case["head"]})
    answer = browser.run(
        "(({receipt, root, head}) => { const bytes = (text) => new TextEncoder().encode(text);"
        f"return window.sealpressReceipt({{receipt: bytes(receipt), root, head: head && bytes(head)}}) }})({given})"
    )
    assert answer["failures"] == case["failures"]


def test_a_person_picks_a_folder_and_sees_that_it_holds(page: Browser) -> None:
    case = VECTORS / "journals" / "golden-v1"
    expected = read(case / "expected.json")
    page.pick("#folder", case / "journal")
    said = press(page, "#verify", expected["root"])
    assert "Verified" in said
    assert "Unwitnessed" in said
    assert f"Records\t{expected['records']}\n" in said
    assert page.run("document.activeElement.id") == "verdict"
    assert page.run("performance.getEntriesByType('resource').length") == 0


def test_a_person_who_kept_a_head_is_told_that_it_stands(page: Browser) -> None:
    case = VECTORS / "journals" / "golden-witnessed"
    expected = read(case / "expected.json")
    page.pick("#folder", case / "journal")
    page.pick("#head", case / expected["head"])
    page.run(f"document.querySelector('#witness').value = '{expected['witness']}'")
    said = press(page, "#verify", expected["root"])
    assert "The head you gave stands in this journal." in said
    assert "The witness co-signed up to joint" in said
    assert "Unwitnessed" not in said


def test_a_person_sees_what_does_not_hold_and_where(page: Browser) -> None:
    case = VECTORS / "journals" / "flipped-bit-in-a-content"
    expected = read(case / "expected.json")
    page.pick("#folder", case / "journal")
    said = press(page, "#verify", expected["root"])
    assert "Not verified: 1 failure" in said
    [failure] = expected["failures"]
    assert f"{failure['place']}\t{failure['code']}\tThe check of this record is wrong" in said


@pytest.mark.parametrize("holds", [True, False])
def test_a_person_checks_a_receipt(page: Browser, tmp_path: Path, holds: bool) -> None:
    case = next(case for case in map(read, RECEIPTS) if not case["failures"] and not case["head"])
    if not holds:
        case["receipt"]["statement"] = case["receipt"]["statement"].replace("\nat 1", "\nat 2")
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(case["receipt"]), "utf-8")
    page.pick("#receipt", receipt)
    said = press(page, "#check", case["root"])
    assert ("The signatures hold" in said, "Not verified" in said) == (holds, not holds)


@pytest.mark.parametrize(
    ("root", "said"), [("ed25519:" + "B" * 43 + "=", "not a key"), ("0" * 64, "Not verified: 1 failure")]
)
def test_a_root_that_is_none_verifies_nothing(page: Browser, root: str, said: str) -> None:
    page.pick("#folder", VECTORS / "journals" / "golden-v1" / "journal")
    assert said in press(page, "#verify", root)


def test_a_log_of_many_pieces_is_read_to_its_end(page: Browser, tmp_path: Path) -> None:
    """Records behind the last head need no signature, so a short log can be made long: one of 9 MB, then short ones."""
    case = VECTORS / "journals" / "golden-v1"
    expected = read(case / "expected.json")
    journal = Path(shutil.copytree(case / "journal", tmp_path / "journal"))
    log = journal / "shard-000.log"
    records = 0
    with log.open("r+b") as file:
        while length := int.from_bytes(file.read(4), "big"):
            body = file.read(length)
            file.seek(8, os.SEEK_CUR)
            records += 1
        for sequence in range(records, records + 2000):
            content = sequence.to_bytes(12, "big") + bytes(9_000_000 if sequence == records else 3000)
            place = b"\x01\x04\0\0" + sequence.to_bytes(8, "big") + body[12:16] + b"\xff\xff" + bytes(8)
            body = place + bytes(80) + content
            check = hashlib.sha256(b"\0" + body).digest()[:8]
            file.write(len(body).to_bytes(4, "big") + body + check)
    page.pick("#folder", journal)
    said = press(page, "#verify", expected["root"])
    assert "Verified" in said
    assert f"Records\t{expected['records'] + 2000:,}\n" in said
    assert "Records behind the last head are not signed yet." in said


@pytest.mark.parametrize("width", [320, 640, 1100])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    case = VECTORS / "journals" / "flaws-of-every-step"
    page.pick("#folder", case / "journal")
    assert "Not verified" in press(page, "#verify", read(case / "expected.json")["root"])
    assert page.run("document.documentElement.scrollWidth") == width


def test_the_page_is_labelled_and_reaches_nothing_outside(page: Browser) -> None:
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.title")
    assert page.run("document.querySelectorAll('h1').length") == 1
    assert page.run("[...document.querySelectorAll('input')].every(({labels}) => labels.length === 1)")
    assert page.run("[...document.querySelectorAll('section')].every((part) => part.hasAttribute('aria-labelledby'))")
    text = PAGE.read_text("utf-8")
    assert re.findall(r"\b(?:src|href|action)=|url\(|@import|\bfetch\(|https?:|innerHTML|\beval\(", text) == []
    assert re.findall("complian", text, re.IGNORECASE) == []


def test_the_policy_of_the_page_allows_its_own_script_and_style_only() -> None:
    text = PAGE.read_text("utf-8")
    assert "default-src 'none'" in text
    for tag in ("script", "style"):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert re.findall(f"{tag}-src ([^;]*);", text) == [f"'sha256-{digest}'"]


def test_every_code_has_its_sentence() -> None:
    verification = (ROOT / "docs" / "formats.md").read_text("utf-8").split("## Verification")[1]
    known = set(re.findall(r"`([a-z]+_[a-z]+)`", verification)) & NotVerified.hints.keys()
    # of a journal, what a witness has seen is shown beside the verdict, in words of their own
    known.discard("witness_root")
    known |= {failure["code"] for path in RECEIPTS for failure in read(path)["failures"]}
    [meaning] = re.findall(r"const MEANING = \{(.*?)\n\};", PAGE.read_text("utf-8"), re.DOTALL)
    assert set(re.findall(r"^  (\w+): \"", meaning, re.MULTILINE)) == known


def test_both_verifiers_say_the_same_of_mutated_journals(browser: Browser, tmp_path: Path) -> None:
    root, refused = signer("root").public, 0
    for number, files in enumerate(sample(300, seed=1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        found = []
        try:
            verify_journal(folder, root)
        except NotVerified as refusal:
            found = [{"place": failure.place, "code": failure.code} for failure in refusal.failures]
        assert ask(browser, key_text(root), files)["failures"] == found, f"mutation {number}"
        refused += bool(found)
    assert refused > 200


def about(file: Path, given: Given) -> dict[str, Any]:
    """What is asked about evidence of the case, by somebody who knows this."""
    case, (head, witness, period) = evidence_case(), given
    known = {
        "evidence": file,
        "root": key_text(case.forge.root.public),
        "head": None if head is None else case.kept[head].encode(),
        "witness": None if witness is None else key_text(witness),
        "period": None if period is None else [str(at) for at in period],
        "nonce": "seven blue cups",
    }
    return {name: value for name, value in known.items() if value is not None}


@pytest.mark.parametrize("head", ["before", "joint within", "after"])
def test_both_verifiers_say_the_same_of_evidence_that_holds(browser: Browser, tmp_path: Path, head: str) -> None:
    case = evidence_case()
    file = zipped(tmp_path / "e.zip", case.parts)
    ours = verify_evidence(
        file, case.forge.root.public, head=case.kept[head], witness=WITNESS.public, nonce="seven blue cups"
    )
    [theirs] = ask_evidence(browser, about(file, Given(head, WITNESS.public)))
    assert theirs["failures"] == []
    assert theirs["counts"] == ours.counts
    assert theirs["unsigned"] == ours.unsigned == 0
    assert sorted(theirs["sample"]) == sorted(one.record for one in ours.sample)
    assert theirs["witnessed"] is not None


def test_both_verifiers_say_the_same_of_evidence_that_was_changed(browser: Browser, tmp_path: Path) -> None:
    """Each of these is refused by the other verifier with this very reason (test_evidence_mutations.py)."""
    every = list(mutations())
    asked = [about(zipped(tmp_path / f"{number}.zip", one.parts), one.given) for number, one in enumerate(every)]
    answers = ask_evidence(browser, *asked)
    assert {one.name: refusals(answer) for one, answer in zip(every, answers, strict=True)} == {
        one.name: [one.found] for one in every
    }


def test_both_verifiers_refuse_evidence_in_another_spelling(browser: Browser, tmp_path: Path) -> None:
    case, odd = evidence_case(), tmp_path / "odd.zip"
    content = zipped(tmp_path / "e.zip", case.parts).read_bytes()
    listed = content.index(b"PK\x01\x02")
    for changed in (
        content + b"\0",
        b"\0" + content,
        content[:-22],
        content.replace(b"journal.note", b"journal.nota", 1),
        content[:listed] + content[listed:].replace(b"heads.notes", b"heads.notez"),
        content[:6] + b"\1" + content[7:],
        content[: listed + 8] + b"\1" + content[listed + 9 :],
        content[: listed + 38] + b"\1" + content[listed + 39 :],
        content[:-12] + b"\0" + content[-11:],
    ):
        odd.write_bytes(changed)
        [answer] = ask_evidence(browser, about(odd, Given(None)))
        assert answer["failures"] == [{"place": "evidence", "code": "evidence_malformed"}]
        with pytest.raises(NotVerified) as refusal:
            verify_evidence(odd, case.forge.root.public)
        assert [tuple(failure) for failure in refusal.value.failures] == [("evidence", "evidence_malformed")]


@pytest.mark.parametrize("holds", [True, False])
def test_a_person_checks_evidence(page: Browser, tmp_path: Path, holds: bool) -> None:
    folder = VECTORS / "evidence" / "golden-v1"
    root = (folder / "root").read_text("utf-8").strip()
    parts = parts_of(folder / "evidence.zip")
    claims = claims_of(parts)
    claims["counts"]["calls"]["done"] += not holds
    file = zipped(tmp_path / "evidence.zip", with_claims(parts, claims))
    page.pick("#evidence", file)
    page.pick("#head", folder / "kept.head")
    page.run("document.querySelector('#nonce').value = 'seven blue cups'")
    said = press(page, "#recount", root)
    assert ("The evidence holds" in said, "Not verified: 1 failure" in said) == (holds, not holds)
    assert ("The head you gave is one of the same history." in said) == holds
    assert ("Sample" in said) == holds
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")

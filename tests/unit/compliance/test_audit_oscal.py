"""A report in OSCAL as compliance-trestle reads it, which knows the models of NIST: from its own environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from compliance.controls.answers import signed
from compliance.controls.catalogue import PROFILES
from compliance.report.audit.contents import Inputs
from compliance.report.audit.formats import written
from compliance.report.audit.made import made
from tests.evidences import a_call, evidence, told
from tests.forge import signer
from tests.unit.compliance.test_audit_report import HOSTILE, answer

CHECKER = Path(__file__).resolve().parents[3] / ".venv-oscal" / "bin" / "python"
READ = """
import sys
from pathlib import Path
from trestle.oscal.assessment_results import AssessmentResults
from trestle.oscal import OSCAL_VERSION

print(OSCAL_VERSION)
for path in sys.argv[1:]:
    try:
        print(len(AssessmentResults.oscal_read(Path(path)).results[0].findings))
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(not CHECKER.exists(), reason="`make oscal-checker` was not run: there is no .venv-oscal")
def test_trestle_reads_every_profile_in_both_languages_and_refuses_what_is_none(tmp_path: Path) -> None:
    calls = (a_call(1), a_call(3, allowed=False), a_call(5, purpose=HOSTILE))
    period = evidence(calls=calls, notes=(told(9, "erased", rows=1),))
    paths, expected = [], []
    for lang in ("en", "zh"):
        for profile in (*PROFILES, "all"):
            answers = (signed(answer(text=HOSTILE), signer("root")),)
            inputs = Inputs(profile=profile, lang=lang, made=1, version="0.1.0", witnessed=True, answers=answers)
            contents = made(period, structs.replace(inputs, made=1_795_000_000 * 10**9))
            paths.append(tmp_path / f"{lang}-{profile}.json")
            paths[-1].write_bytes(written(contents, "oscal"))
            expected.append(str(len(contents.controls)))
    for number, (what, value) in enumerate((("uuid", "no uuid"), ("results", []), ("more", 1))):
        document = json.loads(paths[0].read_bytes())
        document["assessment-results"][what] = value
        paths.append(tmp_path / f"wrong-{number}.json")
        paths[-1].write_text(json.dumps(document), "utf-8")
    ran = subprocess.run([CHECKER, "-c", READ, *paths], capture_output=True, text=True, check=True, timeout=120)
    version, *found = ran.stdout.split()
    assert version == "1.2.1"
    assert found[: len(expected)] == expected
    assert found[len(expected) :] == ["TrestleError"] * 3

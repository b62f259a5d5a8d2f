"""`sealpress consent` for a tenant: a consent counts for calls of the same tenant, and for no other."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from toolkit.box import Box, Context
from toolkit.commands.consent import consent
from toolkit.new_box import create_box


def run(box: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(consent, [*arguments, "--settings", str(box / "sealpress.toml"), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def stands(folder: Path, tenant: str | None) -> bool:
    box = Box(folder / "sealpress.toml")
    with closing(box.journal):
        context = Context(purpose="search", basis="consent", subject="patient-7", tenant=tenant)
        return box.call("infer", "ab" * 32, context).consented is not None


def test_a_consent_counts_for_the_tenant_to_whom_it_was_given(tmp_path: Path) -> None:
    box, said = tmp_path / "box", ("--subject", "patient-7", "--tenant", "clinic")
    create_box(box)
    given = run(box, "record", "--purpose", "search", *said)
    assert (stands(box, "clinic"), stands(box, None), stands(box, "local")) == (True, False, False)
    assert [one["receipt"] for one in run(box, "show", *said)["consents"]] == [given["receipt"]]
    assert run(box, "show", "--subject", "patient-7")["consents"] == []
    run(box, "withdraw", "--purpose", "search", *said)
    assert not stands(box, "clinic")

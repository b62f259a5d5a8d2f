"""What licences ask of who runs a box, on a real box: served, embedded, at load, and by the commands."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner
from msgspec import structs

from compliance.crypto import Opener
from compliance.journal.reader import read
from compliance.journal.records import Noted, Opened
from compliance.keys import read_key
from policies.errors import Denied, Fault
from policies.facts import Stated
from tests.bundles import GOLDEN
from tests.declaring import YEAR, declaring_box, took
from tests.serving import Running, serving
from tests.vectors.make_bundles import SIGNER
from toolkit.box import Box
from toolkit.bundle import Bundle, write_bundle
from toolkit.commands.declaration import declaration as command
from toolkit.commands.trust import trust as trust_command
from toolkit.model import load

HUNYUAN = "LicenseRef-scancode-tencent-hunyuan-3d-2.0-cla"
LLAMA_2 = "LicenseRef-scancode-llama-2-license-2023"
NOT_HOSTED = "LicenseRef-scancode-stability-ai-nc-2023-12-06"
GEMMA = "LicenseRef-scancode-gemma-tou-2025-03-24"
DEEPSEEK = "LicenseRef-scancode-deepseek-la-1.0"
DAY = 86_400 * 10**9


async def served(server: Running) -> list[str]:
    """Ask once over HTTP: by which rules it was refused, none where there was an answer."""
    answer = await server.embed(model="golden", x_purpose="search")
    if answer.status_code == 200:
        return []
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    return [finding["rule"] for finding in answer.json()["findings"] if not finding["ok"]]


def embedded(box: Box, path: Path | None = None) -> list[str]:
    """The same in this process, as whoever imports sealpress asks."""
    box.journal.close()
    here = load(path or box.folder / "a.bundle", box.path)
    with closing(here._box.journal), closing(here._box.meter):
        try:
            assert len(here.embed("where is the ward", purpose="search")) == 1
        except Denied as denied:
            return [finding.rule for finding in denied.findings if not finding.ok]  # type: ignore[attr-defined]  # of Any
    return []


def test_a_served_call_is_refused_by_territory_and_by_an_expired_declaration_and_allowed(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, HUNYUAN)

    async def asked(server: Running) -> None:
        assert await served(server) == ["licence.territory", "licence.users"]
        now = box.journal.now()
        # it counts for two seconds more
        took(box, at=now - DAY, ends=now + 2 * 10**9, domicile="US", users=1_000_000)
        assert await served(server) == []
        while box.journal.now() < now + 2 * 10**9:
            time.sleep(0.1)
        assert sorted(await served(server)) == ["licence.declaration_term", "licence.territory", "licence.users"]
        took(box, domicile="DE", users=1_000_000)
        assert await served(server) == ["licence.territory"]
        took(box, domicile="US", users=1_000_001)
        assert await served(server) == ["licence.users"]
        took(box, domicile="US", users=7)
        assert await served(server) == []

    with closing(box.journal), closing(box.meter):
        serving(box, asked)
        assert embedded(box) == []
    opener = Opener(read_key(box.folder.with_name("box-auditor") / "auditor.key", "auditor-private"))
    calls = [
        (record.metadata.allowed, record.metadata.call.declared and record.metadata.call.declared.state)
        for record in read(box.journal_folder, box.journal.id, opener, box.journal.salts)
        if isinstance(record.metadata, Opened) and record.metadata.call.action == "infer"
    ]
    states = [None, "open", "over", "open", "open", "open", "open"]
    assert calls == list(zip([False, True, False, False, False, True, True], states, strict=True))


def test_embedded_it_is_the_same(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, HUNYUAN)
    with closing(box.meter):
        assert embedded(box) == ["licence.territory", "licence.users"]
        took(box, domicile="KR", users=5)
        assert embedded(box) == ["licence.territory"]
        now = box.journal.now()
        took(box, made=now, starts=now - 2 * DAY, ends=now + 10**8, domicile="US", users=5)
        time.sleep(0.2)
        assert sorted(embedded(box)) == ["licence.declaration_term", "licence.territory", "licence.users"]
        took(box, domicile="US", users=5)
        assert embedded(box) == []
        text = box.path.read_text("utf-8")
        box.path.write_text(text.replace('region = "US"', 'region = "UK"'), "utf-8")
        assert embedded(box) == ["licence.territory"]


@pytest.mark.parametrize(
    ("licence", "uses", "over_http", "in_process"),
    [
        (NOT_HOSTED, "[]", ["licence.hosting"], []),
        # the golden bundle has no NOTICE file
        (GEMMA, "[]", ["licence.hosted"], []),
        (DEEPSEEK, "[]", [], []),
        (DEEPSEEK, '["military"]', ["licence.uses"], ["licence.uses"]),
        (DEEPSEEK, None, ["licence.uses"], ["licence.uses"]),
    ],
)
def test_hosting_and_uses(
    tmp_path: Path, licence: str, uses: str | None, over_http: list[str], in_process: list[str]
) -> None:
    box = declaring_box(tmp_path, licence, uses=uses)

    async def asked(server: Running) -> None:
        assert await served(server) == over_http

    with closing(box.journal), closing(box.meter):
        serving(box, asked)
        assert embedded(box) == in_process


def test_a_stated_licence_that_is_over_is_refused_at_load_and_at_a_call(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, "MIT")
    golden = Bundle.read(GOLDEN, box.trusted())
    files = {file: (GOLDEN / file).read_bytes() for file in golden.manifest.files}
    today = box.journal.now() // DAY * DAY
    for name, ends in (("over", today), ("stands", today + YEAR)):
        stated = Stated(licence="MIT", starts=today - DAY, ends=ends)
        draft = structs.replace(golden.manifest, name=name, licence="MIT", stated=stated)
        write_bundle(box.folder / f"{name}.bundle", draft, files, golden.measurements, SIGNER)

    async def asked(server: Running) -> None:
        assert (await server.embed(model="stands", x_purpose="search")).status_code == 200
        assert (await server.embed(model="over", x_purpose="search")).status_code == 404
        reasons = {one.path.stem: one.reason for one in server.service.models.entries.values()}
        assert (reasons["over"], reasons["stands"]) == ("licence_expired", None)

    with closing(box.journal), closing(box.meter):
        serving(box, asked)
        assert embedded(box, box.folder / "over.bundle") == ["licence.term"]
        assert embedded(box, box.folder / "stands.bundle") == []


def test_the_commands(tmp_path: Path) -> None:
    box = declaring_box(tmp_path, LLAMA_2)
    key, file = tmp_path / "legal.key", tmp_path / "a.declaration"
    said(box, "key", key)
    identity = said(box, "show")["box"]
    terms = ("--by", "St. Mary", "--box", identity, "--domicile", "DE", "--users", "4000", "--no-commercial")
    ends = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 300 * 86_400))
    sign = ("sign", "--key", key, *terms, "--ends", ends, "--out", file)
    assert said(box, *sign, "--dry-run")["out"] is None
    made = said(box, *sign)
    assert (made["domicile"], made["users"], made["revenue"], made["commercial"]) == ("DE", 4000, None, False)
    assert failed(box, *sign) == "declaration_exists"
    assert failed(box, *sign[:-4], "--ends", "2020-01-01", "--out", tmp_path / "b") == "declaration_terms"

    assert failed(box, "import", file) == "declaration_signer"
    wrong = ["add", f"{key}.pub", "--scope", "models", "--settings", str(box.path)]
    assert CliRunner().invoke(trust_command, wrong).exit_code == 2
    assert said(box, "add", f"{key}.pub", "--name", "legal", of=trust_command)["scopes"] == ["declarations"]
    assert said(box, "import", file, "--dry-run")["imported"] is False
    assert said(box, "show")["state"] == "none"
    assert said(box, "import", file)["imported"] is True
    assert failed(box, "import", file) == "declaration_replayed"
    assert failed(box, "import", tmp_path / "none") == "declaration_malformed"
    shown = said(box, "show")
    assert (shown["state"], shown["declaration"]["id"]) == ("open", made["id"])
    box.journal.close()
    assert embedded(box) == []

    opener = Opener(read_key(box.folder.with_name("box-auditor") / "auditor.key", "auditor-private"))
    (noted,) = [
        record.metadata.data
        for record in read(box.journal_folder, box.journal.id, opener, box.journal.salts)
        if isinstance(record.metadata, Noted) and record.metadata.kind == "declaration_imported"
    ]
    assert (noted["id"], noted["users"], noted["domicile"]) == (made["id"], 4000, "DE")


def said(box: Box, *arguments: object, of: Command = command) -> Any:
    """What a command prints with --json. The box lets its journal go, as between processes."""
    box.journal.close()
    given = [*map(str, arguments), "--settings", str(box.path), "--json"]
    done = CliRunner().invoke(of, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def failed(box: Box, *arguments: object) -> str:
    """The code with which a command ends."""
    box.journal.close()
    with pytest.raises(Fault) as caught:
        CliRunner().invoke(command, [*map(str, arguments), "--settings", str(box.path)], catch_exceptions=False)
    return caught.value.code

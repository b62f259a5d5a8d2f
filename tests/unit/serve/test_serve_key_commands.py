"""`sealpress key`: what is made is shown once, listed without its secret, rotated with an overlap, and withdrawn."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compliance.crypto import sha256
from compliance.state.api_keys import ApiKeyError, ApiKeys
from compliance.state.usage import Usage
from serve.key_commands import key
from tests.certificates import Authority
from toolkit.new_box import create_box

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "box"
    create_box(folder)
    return folder


@pytest.fixture
def box(made: Path) -> Path:
    for path in (made / "state").glob("api_keys.sqlite*"):
        path.unlink()
    return made


@pytest.fixture
def run(box: Path) -> Run:
    """What a command prints with --json; it must succeed, or end as a usage error."""

    def run(*arguments: str, fails: bool = False) -> Any:
        done = CliRunner().invoke(key, [*arguments, "--settings", str(box / "sealpress.toml"), "--json"])
        if fails:
            assert done.exit_code == 2, done.output
            return done.output
        if done.exception is not None:
            raise done.exception
        return json.loads(done.output)

    return run


def opens(box: Path, text: str) -> str | None:
    """None where the key opens, else the code."""
    with closing(ApiKeys(box / "state")) as keys:
        try:
            keys.identified(text, time.time_ns())
        except ApiKeyError as error:
            return error.code
    return None


def test_everything_that_a_key_can_be_is_made_and_listed_without_its_secret(run: Run, box: Path) -> None:
    options = ["--name", "ward 3", "--purpose", "search", "--basis", "contract", "--region", "DE", "--subject", "p-7"]
    options += ["--allow-model", "minilm@1.*", "--allow-model", "triage", "--allow-purpose", "search"]
    options += ["--allow-region", "DE", "--allow-region", "FR", "--tenant", "clinic", "--admin", "--consent", "r-9"]
    options += ["--rate", "2.5", "--burst", "7", "--concurrent", "3", "--calls", "100", "--expires", "90d"]
    options += ["--tokens-per-minute", "6000", "--tokens-per-day", "90000"]
    made = run("create", *options)
    text = made.pop("key")

    assert run("list") == {"keys": [made]}
    assert text.rpartition("_")[2] not in json.dumps(run("list"))
    assert re.fullmatch("[0-9a-f]{16}", made["id"])
    assert {name: value for name, value in made.items() if name not in ("made", "expires", "id", "account")} == {
        "state": "active",
        "name": "ward 3",
        "tenant": "clinic",
        "models": ["minilm@1.*", "triage"],
        "purposes": ["search"],
        "regions": ["DE", "FR"],
        "admin": True,
        "rate_per_s": 2.5,
        "burst": 7,
        "concurrent": 3,
        "tokens_per_minute": 6000,
        "tokens_per_day": 90000,
        "defaults": {"purpose": "search", "basis": "contract", "region": "DE", "subject": "p-7", "consent": "r-9"},
        "certificate": None,
        "calls": 100,
        "used": 0,
        "left": 100,
        "successor": None,
        "revoked": None,
        "last_used": None,
    }


def test_the_states_of_a_key(run: Run, box: Path) -> None:
    ids = {name: run("create", "--name", name, *more)["id"] for name, more in (
        ("active", ()), ("far", ("--expires", "15d")), ("expiring", ("--expires", "13d")),
        ("expired", ("--expires", "2020-01-31")), ("revoked", ("--expires", "90d")), ("rotated", ()),
    )}  # fmt: skip
    run("revoke", ids["revoked"])
    run("rotate", ids["rotated"], "--overlap", "0s")
    states = [(one["name"], one["state"]) for one in run("list")["keys"]]
    assert states == [
        ("active", "active"),
        ("far", "active"),
        ("expiring", "expiring"),
        ("expired", "expired"),
        ("revoked", "revoked"),
        ("rotated", "expired"),
        ("rotated", "active"),
    ]


def test_a_rotation_hands_out_a_new_key_for_the_same(run: Run, box: Path) -> None:
    made = run("create", "--purpose", "search", "--calls", "9", "--expires", "30d")
    with closing(Usage(box / "state")) as usage:
        usage.reserve(made["account"])
    new = run("rotate", made["id"], "--overlap", "24h")
    assert (opens(box, made["key"]), opens(box, new["key"])) == (None, None)
    assert (new["replaces"], new["account"], new["used"], new["left"]) == (made["id"], made["account"], 1, 8)
    old = run("list")["keys"][0]
    assert (old["state"], old["successor"], old["expires"]) == ("expiring", new["id"], new["replaced_at"])
    gone = run("rotate", new["id"], "--overlap", "0s", "--expires", "2099-01-31")
    assert gone["expires"] == "2099-01-31T00:00:00+00:00"
    assert opens(box, new["key"]) == "api_key_expired"
    for wrong in ("soon", "-1h", "24", "1y"):
        run("rotate", gone["id"], f"--overlap={wrong}", fails=True)


def test_what_is_revoked_opens_nothing(run: Run, box: Path) -> None:
    made = run("create")
    assert run("revoke", made["id"])["id"] == made["id"]
    assert opens(box, made["key"]) == "api_key_revoked"
    with pytest.raises(ApiKeyError):
        run("revoke", "0123456789abcdef")


def test_a_key_is_bound_to_a_certificate(run: Run, box: Path, tmp_path: Path) -> None:
    pair = Authority(tmp_path).certified("client")
    made = run("create", "--certificate", str(pair.certificate))
    assert made["certificate"] == sha256(pair.der).hex()
    assert opens(box, made["key"]) == "api_key_bound"


def test_a_key_that_nobody_could_use_is_not_made(run: Run) -> None:
    for wrong in (
        ("--purpose", "marketing"),
        ("--allow-purpose", "marketing"),
        ("--allow-purpose", "search", "--purpose", "product"),
        ("--allow-region", "DE", "--region", "FR"),
        ("--rate", "0"),
        ("--calls", "0"),
        ("--expires", "0d"),
        ("--expires", "tomorrow"),
    ):
        run("create", *wrong, fails=True)
    for wrong in (("--rate", "nan"), ("--name", ""), ("--tenant", "t" * 257)):
        with pytest.raises(ApiKeyError) as caught:
            run("create", *wrong)
        assert caught.value.code == "api_key_terms"
    assert run("list") == {"keys": []}


def test_a_person_reads_the_list(run: Run, box: Path) -> None:
    run("create", "--name", "ward 3", "--allow-model", "minilm", "--admin", "--calls", "5", "--expires", "90d")
    done = CliRunner().invoke(key, ["list", "--settings", str(box / "sealpress.toml")])
    assert re.search(r"active +ward 3, for minilm, admin, 0 of 5 calls used, until \S+, last used never", done.output)

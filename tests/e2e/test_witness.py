"""A box and its witness, each a process of its own: heads go over HTTP and by file, and no second history passes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from compliance.witness.exchange import MAX_DOCUMENT
from compliance.witness.witnessed import last_joint_head
from toolkit.cli import main

COMMAND = Path(sys.executable).with_name("sealpress")
ROOT = Path(__file__).resolve().parents[2]
# a process that keeps the journal of a box, as whoever imports sealpress does
WRITE = """
import sys
from toolkit.box import Box
box = Box.open(sys.argv[1])
for number in range(int(sys.argv[2])):
    box.journal.record("read", {"number": number}, "clinic")
box.journal.close()
"""


def command(folder: Path, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """What `sealpress ... --json` prints, run in a folder. Here, since most of a process would be its imports."""
    printed = StringIO()
    with chdir(folder), redirect_stdout(printed), pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json"])
    assert end.value.code == status, printed.getvalue()
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


class Served:
    """A witness and its process, asked over HTTP. What it logs is in `log`."""

    def __init__(self, folder: Path) -> None:
        self.store, self._log = folder / "witness", folder / "log"
        self.key = command(folder, "witness", "init", self.store)["key"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "witness", "serve", self.store, "--port", "0", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        self.announced: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.http = httpx.Client(base_url=self.announced["url"], timeout=30, trust_env=False)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def end(self) -> None:
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0, self._log.read_text()


class Pair:
    """A box, and the witness that trusts it."""

    def __init__(self, folder: Path, witness: Served) -> None:
        self.box, self.witness = folder / "box", witness
        command(folder, "init", self.box)
        self.id = command(folder, "witness", "trust", witness.store, self.box / "journal/journal.note")["journal"]
        with (self.box / "sealpress.toml").open("a") as settings:
            settings.write(f'\n[witness]\nkey = "{witness.key}"\nurl = "{witness.announced["url"]}"\n')

    def write(self, records: int, box: Path | None = None) -> None:
        settings = (box or self.box) / "sealpress.toml"
        subprocess.run([sys.executable, "-c", WRITE, settings, str(records)], cwd=ROOT, check=True)

    def forks(self) -> list[dict[str, Any]]:
        kept = self.witness.store.glob(f"journals/{self.id}/forks/*.json")
        return [json.loads(path.read_bytes()) for path in kept]


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("witness"))
    yield made
    made.end()


@pytest.fixture
def pair(tmp_path: Path, witness: Served) -> Pair:
    return Pair(tmp_path, witness)


def test_what_a_box_writes_is_co_signed(pair: Pair) -> None:
    pair.write(3)
    first = command(pair.box, "witness", "send")
    pair.write(2)
    second = command(pair.box, "witness", "send")

    assert second["records"] > first["records"] > 3
    head = pair.witness.http.get(f"/witness/v1/journals/{pair.id}").json()["head"]
    assert f"\n{second['records']}\n" in head
    assert "— sealpress.witness " in head
    assert (pair.box / "journal/witnessed.notes").read_text().count("— sealpress.witness ") == 2
    assert pair.witness.http.get("/witness/v1/key").json()["key"] == pair.witness.key


def test_a_fork_is_caught_at_the_next_exchange(pair: Pair) -> None:
    pair.write(1)
    command(pair.box, "witness", "send")
    copy = Path(shutil.copytree(pair.box, pair.box.with_name("copy")))
    pair.write(2)
    pair.write(3, copy)
    command(pair.box, "witness", "send")

    assert command(copy, "witness", "send", status=3)["code"] == "journal_forked"
    (fork,) = pair.forks()
    assert fork["seen"]["head"] == last_joint_head(pair.box / "journal")
    assert fork["exchange"]["head"] == last_joint_head(copy / "journal")
    # the copy has the head that contradicts it now, and goes on saying so; the box goes on
    assert command(copy, "witness", "send", status=3)["code"] == "journal_forked"
    pair.write(1)
    command(pair.box, "witness", "send")
    said = [line for line in pair.witness.log() if line.get("code") == "witness_fork"]
    assert [(line["status"], pair.id in line["reason"]) for line in said] == [(409, True), (409, True)]


def test_a_box_that_was_set_back_is_caught(pair: Pair) -> None:
    pair.write(1)
    before = shutil.copytree(pair.box, pair.box.with_name("before"))
    pair.write(5)
    command(pair.box, "witness", "send")
    shutil.rmtree(pair.box)
    shutil.copytree(before, pair.box)

    # at once, though nothing was written and the box knows of no witnessed head
    assert command(pair.box, "witness", "send", status=3)["code"] == "journal_forked"
    assert pair.forks() == []
    pair.write(1)
    assert command(pair.box, "witness", "send", status=3)["code"] == "journal_forked"
    assert len(pair.forks()) == 1


def test_heads_go_by_file_where_there_is_no_network(pair: Pair, tmp_path: Path) -> None:
    def carried(number: int, status: int = 0) -> dict[str, Any]:
        sent, answer = tmp_path / f"{number}.exchange", tmp_path / f"{number}.head"
        command(pair.box, "witness", "send", "--out", sent)
        signed = command(tmp_path, "witness", "sign", pair.witness.store, sent, "--out", answer, status=status)
        return {**signed, **command(pair.box, "witness", "keep", answer)}

    pair.write(2)
    assert carried(1)["records"] == 3

    # a box that has lost what came back is told by the answer, and goes on from there
    (pair.box / "journal/witnessed.notes").unlink()
    pair.write(1)
    assert carried(2, status=1)["code"] == "witness_stale"
    command(pair.box, "witness", "send")

    # nothing is written over
    assert command(pair.box, "witness", "send", "--out", tmp_path / "2.exchange", status=2)["code"] == "usage"


def test_a_witness_answers_strangers_with_a_problem(pair: Pair) -> None:
    http, heads = pair.witness.http, "/witness/v1/heads"
    unknown = http.get(f"/witness/v1/journals/{'0' * 32}")
    answers = {
        "exchange_malformed": http.post(heads, content=b"{}"),
        "request_too_large": http.post(heads, content=bytes(MAX_DOCUMENT + 1)),
        "witness_unknown": unknown,
        "route_unknown": http.get("/v1/models"),
        "method_unknown": http.get(heads),
    }

    assert {answer.json()["code"] for answer in answers.values()} == answers.keys()
    assert [answer.status_code for answer in answers.values()] == [400, 413, 404, 404, 405]
    assert http.get("/witness/v1/journals/..%2f..%2fwitness.key").status_code == 404
    assert http.get(f"/witness/v1/journals/{pair.id}").json() is None

    flood = (http.get("/witness/v1/key") for _ in range(1000))
    busy = next(answer for answer in flood if answer.status_code == 503)
    assert busy.json()["code"] == "queue_full"
    assert int(busy.headers["Retry-After"]) >= 1

"""What a model writes is looked at before anybody reads it: counted, masked, or the end of it, and on record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from policies.outgoing import OutputRefused
from policies.privacy import redact, scan
from tests.commands import within
from tests.conftest import Shared
from tests.decoders import SAID, said_box
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.model import Model
from toolkit.runtime.sampling import Sampling

MASKED = redact(SAID, scan(SAID))


@pytest.fixture(scope="module")
def place(shared: Shared) -> Path:
    return said_box(shared)


@pytest.fixture(scope="module")
def model(place: Path) -> Iterator[Model]:
    box = Box(place / "sealpress.toml")
    with closing(box.journal):
        yield Model(Bundle.read(place / "said.bundle", box.trusted()), box)


def of_call(place: Path, call: str) -> list[dict[str, Any]]:
    """What stands on record of a call, behind the record that opens it."""
    read = within(place, "journal", "read", "--auditor-key", "../box-auditor/auditor.key", "--json")
    assert read.returncode == 0, read.stderr
    records = [one for one in json.loads(read.stdout)["records"] if one["metadata"]]
    opened = next(
        one["record"]
        for one in records
        if one["metadata"]["record"] == "opened" and one["metadata"]["call"]["id"] == call
    )
    return [one for one in records if one["of"] == opened]


def texts(records: list[dict[str, Any]], kind: str) -> list[str]:
    return [one["payload"]["value"]["text"] for one in records if one["metadata"].get("kind") == kind]


def noted(place: Path, call: str) -> dict[str, Any]:
    """What the record of an answer says, and how the call ended."""
    mine = of_call(place, call)
    said = next(one for one in mine if one["metadata"].get("kind") == "answer")
    closed = next(one for one in mine if one["metadata"]["record"] == "closed")
    (text,) = texts(mine, "answer")
    return {**said["metadata"]["data"], "text": text, "code": closed["metadata"]["outcome"].get("code")}


def test_with_a_basis_it_is_counted_and_handed_out(model: Model, place: Path) -> None:
    answer = model.generate("!", purpose="search", basis="contract", max_tokens=60, logprobs=1)
    assert (answer.text, answer.found) == (SAID, {"email": 1})
    assert [one.kind for one in answer.obligations] == ["attribution", "note_output"]
    assert len(answer.logprobs) == len(SAID)
    found = noted(place, answer.call)
    assert (found["text"], found["found"], found["code"]) == (SAID, {"email": 1}, None)


def test_without_one_it_is_masked_and_nothing_tells_what_stood_there(model: Model, place: Path) -> None:
    with model.stream("!", Sampling.checked(max_tokens=60, logprobs=2), Context(purpose="search")) as stream:
        chunks = list(stream)
    assert "".join(chunk.text for chunk in chunks) == stream.text == MASKED
    assert stream.found == {"email": 1}
    assert not any(chunk.logprobs for chunk in chunks)
    assert stream.usage["answer_tokens"] == len(SAID) + 1
    found = noted(place, stream.call)
    assert (found["text"], found["found"]) == (MASKED, {"email": 1})


def test_where_the_policy_asks_for_it_the_answer_ends_before_it(model: Model, place: Path) -> None:
    stream = model.stream("!", Sampling.checked(max_tokens=60), Context(purpose="product"))
    with pytest.raises(OutputRefused) as refused:
        list(stream)
    assert refused.value.code == "output_personal"
    assert SAID.startswith(stream.text)
    assert "jim" not in stream.text
    assert "jim" not in str(refused.value)
    found = noted(place, stream.call)
    assert (found["finish"], found["code"], found["text"]) == ("policy", "output_personal", stream.text)


def test_what_is_clean_is_the_same_under_each(model: Model) -> None:
    """Up to the tokens before the address."""
    short = {
        context.purpose: model.stream("!", Sampling.checked(max_tokens=3), context)
        for context in (Context(purpose="search"), Context(purpose="product"))
    }
    for stream in short.values():
        assert "".join(chunk.text for chunk in stream) == SAID[:3]
        assert (stream.finish, stream.found) == ("length", {})


def test_a_stream_that_is_stopped_is_on_record_with_what_was_handed_out(model: Model, place: Path) -> None:
    with model.stream("!", Sampling.checked(max_tokens=60), Context(purpose="search")) as stream:
        for _ in range(12):
            next(stream)
    assert "jim" not in stream.text
    found = noted(place, stream.call)
    assert (found["finish"], found["code"], found["text"]) == ("stopped", "generation_stopped", stream.text)


def test_a_scan_that_fails_ends_the_answer(model: Model, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("jim@uvxyz.org")

    monkeypatch.setattr("policies.privacy.streaming.scan", fail)
    for context in (Context(purpose="search"), Context(purpose="search", basis="contract")):
        stream = model.stream("!", Sampling.checked(max_tokens=60), context)
        with pytest.raises(OutputRefused) as refused:
            list(stream)
        assert refused.value.code == "output_unscanned"
        assert "jim" not in str(refused.value)
        assert noted(place, stream.call)["finish"] == "policy"


def test_in_the_class_buffered_a_piece_is_no_record_of_its_own(model: Model, place: Path) -> None:
    answer = model.generate("!", purpose="search", basis="contract", max_tokens=60)
    assert texts(of_call(place, answer.call), "chunk") == []


@pytest.fixture(scope="module")
def durable(place: Path, shared: Shared) -> Path:
    """The same box, whose records are synced before a call goes on."""

    def make(folder: Path) -> None:
        shutil.copytree(place.parent, folder, dirs_exist_ok=True)
        settings = folder / "box" / "sealpress.toml"
        text = settings.read_text("utf-8")
        assert 'durability = "buffered"' in text
        settings.write_text(text.replace('durability = "buffered"', 'durability = "durable"'), "utf-8")

    return shared.made("generating-durable", make) / "box"


def test_in_the_class_durable_each_piece_is_synced_before_it_is_handed_out(
    durable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        real(descriptor)
        synced.append(descriptor)

    box = Box(durable / "sealpress.toml")
    with closing(box.journal):
        model = Model(Bundle.read(durable / "said.bundle", box.trusted()), box)
        with model.stream("!", Sampling.checked(max_tokens=60), Context(purpose="search", basis="contract")) as stream:
            next(stream)
            monkeypatch.setattr(os, "fdatasync", counted)
            for number in range(1, 6):
                assert next(stream).text == SAID[number]
                assert len(synced) >= number


# waits for a line before each chunk
KILLED = """
import sys
from pathlib import Path
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.model import Model
from toolkit.runtime.sampling import Sampling

box = Box(Path("sealpress.toml"))
model = Model(Bundle.read(Path("said.bundle"), box.trusted()), box)
stream = model.stream("!", Sampling.checked(max_tokens=60), Context(purpose="search", basis="contract"))
print(stream.call, flush=True)
while sys.stdin.readline():
    print(next(stream).text, flush=True)
"""


def test_what_a_killed_process_handed_out_is_on_record(durable: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=durable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        call = process.stdout.readline().strip()
        handed = ""
        for _ in range(10):
            process.stdin.write("\n")
            process.stdin.flush()
            handed += process.stdout.readline().removesuffix("\n")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    mine = of_call(durable, call)
    assert handed == SAID[:10] == "".join(texts(mine, "chunk"))
    # and nothing says that the answer came to an end
    assert {one["metadata"].get("kind") for one in mine} == {"chunk"}
    assert within(durable, "journal", "verify").returncode == 0


def test_an_answer_carries_a_mark_that_can_be_checked_away_from_the_box(
    model: Model, place: Path, tmp_path: Path
) -> None:
    answer = model.generate("!", purpose="search", max_tokens=60)
    mark, text = tmp_path / "mark.json", tmp_path / "answer.txt"
    mark.write_text(answer.mark, "utf-8")
    text.write_text(MASKED, "utf-8")
    key = Box(place / "sealpress.toml").settings.journal.root
    found = within(tmp_path, "receipt", "mark", str(mark), "--text", str(text), "--key", key, "--json")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert (told["call"], told["model"]) == (answer.call, model.manifest.digest)
    text.write_text(SAID, "utf-8")
    other = within(tmp_path, "receipt", "mark", str(mark), "--text", str(text), "--key", key, "--json")
    assert other.returncode == 1
    assert "mark_text" in other.stdout + other.stderr

"""The models of a box: taken, refused one by one, replaced, resting, unloaded and loaded, under the right names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policies.errors import Fault
from tests.bundles import GOLDEN, put_bundle, trusting_box
from tests.vectors.make_bundles import STRANGER
from toolkit import plan
from toolkit.box import Box, Context
from toolkit.model import Model
from toolkit.models import Entry, Models


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = trusting_box(tmp_path)
    yield box
    box.journal.close()


@pytest.fixture(autouse=True)
def measured_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "RUN_S", 0.001)


@pytest.fixture
def refused() -> list[Fault]:
    return []


@pytest.fixture
def models(box: Box, refused: list[Fault]) -> Models:
    return Models(box, [box.folder], cores=1, refused=refused.append)


def put(box: Box, file: str, *, name: str = "a", version: str = "1", licence: str = "MIT") -> str:
    """Put a bundle beside the settings; its digest."""
    made = put_bundle(box.folder / f"{file}.bundle", name=name, version=version, licence=licence)
    return made.manifest.digest


def answers(models: Models, name: str) -> str:
    """Ask what is served under a name; the digest of what answered."""
    model = models.wake(models.find(name))
    assert model.ask({"texts": ["where is the ward"]}, Context(purpose="search")).outputs["embedding"].shape == (1, 4)
    return model.manifest.digest


def code(act: Callable[[], object]) -> str:
    with pytest.raises(Fault) as caught:
        act()
    return caught.value.code


def test_a_folder_is_served_and_what_is_put_there_later(box: Box, models: Models) -> None:
    first = put(box, "a", name="a")
    models.refresh()
    assert answers(models, "a") == first
    assert code(lambda: models.find("b")) == "model_unknown"
    second = put(box, "b", name="b")
    models.refresh()
    assert (answers(models, "a"), answers(models, "b")) == (first, second)
    assert models.entries.keys() == {"a", "b"}


def test_nothing_to_serve_is_said(box: Box, models: Models) -> None:
    models.refresh()
    assert code(models.must_serve) == "bundle_not_found"
    put_bundle(box.folder / "a.bundle", signer=STRANGER)
    models.refresh()
    assert code(models.must_serve) == "bundle_signer"


def test_a_bundle_that_does_not_hold_is_refused_and_the_others_serve(
    box: Box, models: Models, refused: list[Fault]
) -> None:
    good = put(box, "good", name="good")
    put_bundle(box.folder / "strange.bundle", name="strange", signer=STRANGER)
    put(box, "unlicensed", name="unlicensed", licence="LicenseRef-made-up")
    shutil.copytree(GOLDEN, box.folder / "flipped.bundle")
    weights = box.folder / "flipped.bundle" / "model.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    models.refresh()
    assert answers(models, "good") == good
    assert sorted(fault.code for fault in refused) == ["bundle_digest", "bundle_signer", "licence_unknown"]
    assert {name: (entry.state, entry.reason) for name, entry in models.entries.items()} == {
        "good": ("ready", None),
        "strange": ("refused", "bundle_signer"),
        "unlicensed": ("refused", "licence_unknown"),
        "flipped": ("refused", "bundle_digest"),
    }
    assert code(lambda: models.find("unlicensed")) == "model_unknown"
    models.refresh()
    assert len(refused) == 3  # nothing changed, so nothing is said again


def test_what_was_refused_is_looked_at_again_when_asked(box: Box, models: Models, refused: list[Fault]) -> None:
    put_bundle(box.folder / "a.bundle", name="a", signer=STRANGER)
    models.refresh()
    models.refresh(again=True)
    assert len(refused) == 2


def test_another_bundle_takes_the_place_of_one_that_is_asked(box: Box, models: Models) -> None:
    gone: list[Model] = []
    models.gone = gone.append
    before = put(box, "a", name="a")
    models.refresh()
    held = models.wake(models.find("a"))
    put_bundle(box.folder / "next", name="a", version="2")
    (box.folder / "a.bundle").rename(box.folder / "old")
    (box.folder / "next").rename(box.folder / "a.bundle")
    models.refresh()
    assert answers(models, "a") != before
    assert gone == [held]
    # whoever has it still may ask it
    assert held.ask({"texts": ["is"]}, Context(purpose="search")).usage == {"texts": 1, "tokens": 1}


def test_a_broken_successor_is_refused_and_the_one_from_before_goes_on(
    box: Box, models: Models, refused: list[Fault]
) -> None:
    before = put(box, "a", name="a")
    models.refresh()
    shutil.rmtree(box.folder / "a.bundle")
    put_bundle(box.folder / "a.bundle", name="a", version="2", signer=STRANGER)
    models.refresh()
    assert answers(models, "a") == before
    assert [fault.code for fault in refused] == ["bundle_signer"]
    assert models.find("a").reason == "bundle_signer"


def test_a_bundle_that_was_removed_is_served_no_more(box: Box, models: Models) -> None:
    put(box, "a", name="a")
    models.refresh()
    shutil.rmtree(box.folder / "a.bundle")
    models.refresh()
    assert code(lambda: models.find("a")) == "model_unknown"
    assert not models.entries


def test_the_plain_name_is_that_of_the_newest_version(box: Box, models: Models) -> None:
    digests = {version: put(box, f"a{version}", name="a", version=version) for version in ("1.9", "1.10", "1.2")}
    models.refresh()
    assert answers(models, "a") == digests["1.10"]
    assert {version: answers(models, f"a@{version}") for version in digests} == digests
    assert models.find("a", "1.2").manifest is models.find(f"a@{digests['1.2'][:12]}").manifest


def test_of_two_that_claim_a_name_and_version_neither_gets_it(box: Box, models: Models) -> None:
    digests = [put(box, "one", name="a"), put(box, "two", name="a", licence="Apache-2.0")]
    models.refresh()
    assert code(lambda: models.find("a")) == "model_unknown"
    assert code(lambda: models.find("a", "1")) == "model_unknown"
    assert [answers(models, f"a@{digest[:12]}") for digest in digests] == digests
    assert models.entries.keys() == {f"a@{digest[:12]}" for digest in digests}


def test_an_alias_leads_to_a_version(tmp_path: Path) -> None:
    box = trusting_box(tmp_path, 'alias = {stable = "a@1"}')
    try:
        models = Models(box, [box.folder], cores=1)
        first = put(box, "a1", name="a", version="1")
        put(box, "a2", name="a", version="2")
        models.refresh()
        assert answers(models, "stable") == first
    finally:
        box.journal.close()


def test_what_is_unloaded_stays_so_for_every_process_until_it_is_loaded(box: Box, models: Models) -> None:
    digest = put(box, "a", name="a")
    other = Models(box, [box.folder], cores=1)
    for one in (models, other):
        one.refresh()
    models.unload("a")
    assert code(lambda: models.find("a")) == "model_unloaded"
    other.refresh()
    assert code(lambda: other.find("a")) == "model_unloaded"
    other.load("a")
    models.refresh()
    assert (answers(models, "a"), answers(other, "a")) == (digest, digest)
    assert code(lambda: models.unload("b")) == "model_unknown"


def test_beyond_the_budget_the_one_not_asked_for_the_longest_rests(tmp_path: Path) -> None:
    box = trusting_box(tmp_path, "memory_mb = 1")
    try:
        models = Models(box, [box.folder], cores=1)
        digests = {name: put(box, name, name=name) for name in ("a", "b", "c")}
        for name in digests:
            models.refresh()
            models.find(name).bytes = 400_000  # as if it were that large
        models.refresh()
        models.find("a")
        models._make_room(400_000, models.find("c"))
        assert {name: entry.state for name, entry in models.entries.items()} == {
            "a": "ready",
            "b": "resting",
            "c": "ready",
        }
        # it is there again for whoever asks
        assert answers(models, "b") == digests["b"]
        assert models.find("b").state == "ready"
    finally:
        box.journal.close()


def test_a_bundle_that_broke_while_its_model_rested_is_refused_until_it_is_whole(
    box: Box, models: Models, refused: list[Fault]
) -> None:
    digest = put(box, "a", name="a")
    models.refresh()
    entry = models.find("a")
    models._rest(entry, "resting", "memory")
    weights = entry.path / "model.onnx"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert code(lambda: models.wake(entry)) == "model_refused"
    assert [fault.code for fault in refused] == [entry.reason] == ["bundle_digest"]
    weights.write_bytes(whole)
    assert answers(models, "a") == digest
    models._rest(entry, "resting", "memory")
    shutil.rmtree(entry.path)
    assert code(lambda: models.wake(entry)) == "model_refused"
    assert refused[-1].code == entry.reason == "bundle_not_found"


def test_a_model_beyond_the_whole_budget_is_refused(tmp_path: Path) -> None:
    box = trusting_box(tmp_path, "memory_mb = 1")
    try:
        models = Models(box, [box.folder], cores=1)
        assert code(lambda: models._make_room(2_000_000, Entry(box.folder / "large.bundle"))) == "model_memory"
    finally:
        box.journal.close()


def test_every_change_is_on_record(box: Box, models: Models) -> None:
    seen: list[tuple[str, dict[str, object]]] = []
    real = box.journal.record

    def record(kind: str, data: dict[str, object], tenant: str) -> object:
        seen.append((kind, data))
        return real(kind, data, tenant)

    box.journal.record = record  # type: ignore[method-assign, assignment] # the real one runs
    first = put(box, "a", name="a")
    models.refresh()
    shutil.rmtree(box.folder / "a.bundle")
    second = put(box, "a", name="a", version="2")
    models.refresh()
    models.unload("a")
    kinds = [(kind, data) for kind, data in seen if kind != "loaded"]
    assert kinds == [
        ("replaced", {"before": first, "model": second}),
        ("unloaded", {"model": second, "why": "asked"}),
    ]
    assert [kind for kind, _ in seen].count("loaded") == 2

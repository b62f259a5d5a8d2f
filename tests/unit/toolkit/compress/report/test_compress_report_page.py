"""The page of a run: whole, without anything from elsewhere, and safe against the names in a model."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from toolkit.compress.report import write_report
from toolkit.compress.report.page import render
from toolkit.compress.results import Example, Fidelity, Interval, LayerError, Result, Run, Slice, TensorSize, Trial
from toolkit.compress.step import StepReport

HOSTILE = '<script>alert("x")</script>&\u202e'


def result(size: int, low: float, latency: float) -> Result:
    score = Interval(mean=low + 0.001, low=low, high=low + 0.002)
    slices = (Slice(name="length 16-31", items=40, score=score), Slice(name=f"class {HOSTILE}", items=3, score=score))
    found = Fidelity(measure="cosine", score=score, slices=slices, worst=(3,), worst_scores=(0.9,))
    return Result(
        size_bytes=size,
        transport_bytes=size - 1000,
        fidelity=found,
        latency_ms=latency,
        latency_before_ms=10.0,
        task={"accuracy": score},
    )


def run(chosen: int | None = 2) -> Run:
    def trial(number: int, size: int, low: float, latency: float, *missed: str) -> Trial:
        step = StepReport(
            kind="mixed",
            bytes_before=90_000_000,
            bytes_after=size,
            weights={"int8": size},
            left=(HOSTILE,),
            fidelity=low,
        )
        recipe = ({"kind": "mixed", "share": 0.1},)
        measured = result(size, low, latency)
        return Trial(
            number=number,
            name=f"r{number}",
            recipe=recipe,
            steps=(step,),
            digest="d",
            result=measured,
            missed=missed,
            seconds=1,
        )

    broken = Trial(number=3, name="r3", recipe=(), steps=(), digest="", result=None, missed=(HOSTILE,), seconds=1)
    return Run(
        name=HOSTILE,
        source="ab" * 32,
        task="feature-extraction",
        licence="MIT",
        budget="size<=20MB, fidelity>=0.99",
        machine="a machine",
        method={"fidelity": "cosine"},
        versions={"torch": "2.13.0"},
        data={"evaluate": "cd" * 32},
        export_error=1e-6,
        before=result(90_000_000, 0.9985, 10.0),
        trials=(
            trial(1, 22_800_000, 0.992, 6.0, "it has 22.80 MB, above 20"),
            trial(2, 18_500_000, 0.9961, 7.0),
            broken,
        ),
        chosen=chosen,
        nearest=2,
        sizes=(TensorSize(name=HOSTILE, stored="int8", size_bytes=10_000_000),),
        layers=(LayerError(name=HOSTILE, kind="MatMul", decibels=12.5),),
        worst=(Example(number=3, shown=HOSTILE, score=0.9),),
    )


def test_the_page_says_what_was_gained_and_lost() -> None:
    page = render(run())
    assert "r2: 4.86 times smaller (18.5 MB instead of 90.0), 1.43 times as fast, fidelity 0.9961 or more." in page
    assert "refused: it has 22.80 MB, above 20" in page
    assert "[[step]]\nkind = &#34;mixed&#34;\nshare = 0.1" in page


def test_a_refusal_is_said_first() -> None:
    assert "Nothing was handed out. The nearest, r2, is 4.86 times smaller" in render(run(chosen=None))


def test_nothing_of_a_model_or_of_a_text_becomes_markup() -> None:
    page = render(run())
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_is_well_formed() -> None:
    page = re.sub(r"<meta([^>]*)>", r"<meta\1/>", render(run()).replace("<!doctype html>", ""))
    assert ElementTree.fromstring(page).tag == "html"  # noqa: S314 - our own page


def test_the_same_is_written_as_json(tmp_path: Path) -> None:
    write_report(run(), tmp_path)
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Run) == run()
    assert (tmp_path / "report.html").read_text("utf-8") == render(run())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_run_of_numbers_that_are_not_finite_has_a_page() -> None:
    one = run(chosen=None)
    broken = msgspec.structs.replace(one.trials[1], result=result(1000, float("nan"), 1.0))
    assert "nan" in render(msgspec.structs.replace(one, trials=(broken,)))

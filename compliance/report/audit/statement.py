"""The report as OSCAL 1.2.1 assessment results (NIST), for tools that collect them.

Only a control that passed is `satisfied`. Every number of the report is a property of the result, with its leaves.
Source: https://pages.nist.gov/OSCAL/ , model reference of assessment-results.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from compliance.report.audit.contents import Contents, Control
from compliance.report.audit.words import words
from compliance.report.wording import plain

__all__ = ["assessment", "inputs_of", "numbers"]

_VERSION = "1.2.1"
_SPACE = "urn:sealpress:audit-report"
_LAST = 253_402_300_799 * 10**9
_INPUTS = "inputs"
_NUMBER = "number"


def assessment(contents: Contents) -> dict[str, Any]:
    """The document. Its identifiers come from the evidence and the report's own, so that it is made the same again."""
    of = f"{contents.evidence} {contents.inputs.made} {contents.inputs.profile} {contents.inputs.lang}"
    said = words(contents.inputs.lang)
    made = _moment(contents.inputs.made)
    plan = _id(of, "plan")
    result: dict[str, Any] = {
        "uuid": _id(of, "result"),
        "title": f"{said['report']}: {plain(contents.box) or contents.journal}",
        "description": said["check_text"],
        "start": _moment(contents.since),
        "end": _moment(contents.until),
        "props": [*_properties(contents), *_figures(contents)],
        "reviewed-controls": {
            "control-selections": [{"include-controls": [{"control-id": one.id} for one in contents.controls]}]
        },
        "observations": [_observation(of, one, made) for one in contents.controls],
        "findings": [_finding(of, one, said) for one in contents.controls],
    }
    return {
        "assessment-results": {
            "uuid": _id(of, "report"),
            "metadata": {
                "title": f"{said['report']}: {plain(contents.box) or contents.journal}",
                "last-modified": made,
                "version": plain(contents.inputs.version) or "0",
                "oscal-version": _VERSION,
                "props": [_property(_INPUTS, msgspec.json.encode(contents.inputs).decode())],
            },
            "import-ap": {"href": f"#{plan}"},
            "results": [result],
            "back-matter": {
                "resources": [
                    {
                        "uuid": plan,
                        "title": f"sealpress {contents.inputs.profile}",
                        "description": f"SHA-256 {contents.evidence}",
                    }
                ]
            },
        }
    }


def inputs_of(content: bytes) -> list[str]:
    """What a document was made of, as JSON; one, unless somebody changed it. Raises what a reader of JSON raises."""
    metadata = _document(content)["metadata"]
    return [str(one["value"]) for one in metadata["props"] if one["name"] == _INPUTS]


def numbers(content: bytes) -> Iterator[tuple[str, str]]:
    """Every number of a document with its name, in order."""
    for result in _document(content)["results"]:
        for one in result["props"]:
            if one["name"] == _NUMBER:
                yield str(one["remarks"]).partition("\n")[0], str(one["value"])


def _document(content: bytes) -> dict[str, Any]:
    return msgspec.json.decode(content, type=dict[str, dict[str, Any]])["assessment-results"]


def _properties(contents: Contents) -> Iterator[dict[str, str]]:
    yield _property("journal", contents.journal)
    yield _property("root", contents.root)
    yield _property("evidence", contents.evidence)
    yield _property("witnessed", "yes" if contents.inputs.witnessed else "no")


def _figures(contents: Contents) -> Iterator[dict[str, str]]:
    for one in dict.fromkeys(contents.figures()):
        leaves = " ".join(one.leaves) or "-"
        yield {**_property(_NUMBER, repr(one.value)), "remarks": f"{plain(one.id, 300)}\n\n{leaves}"}


def _observation(of: str, one: Control, made: str) -> dict[str, Any]:
    person = one.question is not None
    said = one.answered.text if one.answered is not None else one.said or one.question or one.requires
    return {
        "uuid": _id(of, f"observation {one.id}"),
        "title": f"{one.law} {one.at}",
        "description": said,
        "methods": ["INTERVIEW" if person else "TEST"],
        "collected": made,
    }


def _finding(of: str, one: Control, said: dict[str, str]) -> dict[str, Any]:
    passed = one.kind == "pass"
    reason = "pass" if passed else "fail" if one.kind == "fail" else "other"
    props = [_property("result", one.kind)]
    if one.applies is not None:
        props.append(_property("applies-from", one.applies.isoformat()))
    if one.read is None:
        props.append(_property("wording", "not-checked"))
    return {
        "uuid": _id(of, f"finding {one.id}"),
        "title": f"{one.law} {one.at}: {said[one.kind]}",
        "description": one.requires,
        "props": props,
        "target": {
            "type": "objective-id",
            "target-id": one.id,
            "status": {"state": "satisfied" if passed else "not-satisfied", "reason": reason},
        },
        "related-observations": [{"observation-uuid": _id(of, f"observation {one.id}")}],
    }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": name, "ns": _SPACE, "value": value}


def _id(of: str, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_SPACE} {of} {what}"))


def _moment(at: int) -> str:
    return datetime.fromtimestamp(min(at, _LAST) // 10**9, UTC).isoformat()

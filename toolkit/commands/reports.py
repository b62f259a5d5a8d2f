"""Reports on evidence, for sealpress audit report and verify."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from compliance.controls.answers import Signed
from compliance.controls.catalogue import Lang, Profile
from compliance.controls.errors import ControlError
from compliance.disk import put
from compliance.evidence.reading import read
from compliance.report.errors import ReportError, ReportExists
from compliance.verify.evidence import VerifiedEvidence
from toolkit.extras import MissingExtra, needs

if TYPE_CHECKING:
    from compliance.report.audit.contents import Contents, Previous

__all__ = ["ANSWERS", "FORMS", "Form", "answers_in", "parts", "recounts", "write"]

Form = Literal["html", "pdf", "json", "oscal"]
FORMS: tuple[Form, ...] = get_args(Form)

ANSWERS = "answers"
_MAX_ANSWER = 65_536
_MAX_REPORT = 200_000_000


def write(
    out: Path,
    file: Path,
    found: VerifiedEvidence,
    *,
    profile: Profile,
    lang: Lang,
    forms: Sequence[Form],
    answers: tuple[Signed, ...],
    previous: Path | None,
) -> dict[str, Any]:
    """Write the report on verified evidence in each format. Returns what a command says of it.

    Raises ReportExists, ReportError, ControlError, NotVerified, MissingExtra.
    """
    with parts(forms):
        from compliance.report.audit.contents import Inputs
        from compliance.report.audit.formats import FILES, written
        from compliance.report.audit.made import made
    targets = {form: out / FILES[form] for form in forms}
    for target in targets.values():
        if target.exists():
            raise ReportExists("report_exists", f"{target} exists already")
    evidence = read(file, found)
    inputs = Inputs(
        profile=profile,
        lang=lang,
        made=time.time_ns(),
        version=version("sealpress"),
        witnessed=evidence.witnessed,
        answers=answers,
        previous=None if previous is None else _kept(previous),
    )
    contents = made(evidence, inputs)
    with parts(forms):
        content = {form: written(contents, form) for form in forms}
    for form, target in targets.items():
        put(target, content[form])
    return _value(contents, [str(target) for target in targets.values()])


def recounts(reports: Sequence[Path], file: Path, found: VerifiedEvidence) -> list[str]:
    """Count reports on verified evidence again. Returns their paths. Raises ReportError, ControlError, MissingExtra."""
    if not reports:
        return []
    with needs("report"):
        from compliance.report.audit.recount import recount
    evidence = read(file, found)
    for path in reports:
        form = _form(path)
        with parts([form]):
            recount(_content(path), form, evidence)
    return [str(path) for path in reports]


def answers_in(folder: Path) -> tuple[Signed, ...]:
    """The answers that lie with a box, in the order of their files. Raises ControlError: answer_forged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            with path.open("rb") as file:
                found.append(msgspec.json.decode(file.read(_MAX_ANSWER), type=Signed))
        except msgspec.MsgspecError:
            raise ControlError("answer_forged", f"{path.name} is no answer") from None
    return tuple(found)


@contextmanager
def parts(forms: Sequence[Form]) -> Iterator[None]:
    """What a format needs is there. Raises MissingExtra with what to install; Pango is a library of the system."""
    try:
        with needs("pdf" if "pdf" in forms else "report"):
            yield
    except OSError as error:
        if "pdf" not in forms or error.errno is not None:
            raise
        raise MissingExtra("extra_missing", "Pango is missing, which PDF needs: apt install libpango-1.0-0") from None


def _form(path: Path) -> Form:
    """The format of a report by the ending of its name."""
    from compliance.report.audit.formats import FILES

    # the longest first, since one ending is the end of another
    for form, name in sorted(FILES.items(), key=lambda item: -len(item[1])):
        if path.name.endswith(name.removeprefix("report")):
            return form
    raise ReportError("report_malformed", f"{path.name} ends like no format of a report")


def _kept(path: Path) -> Previous:
    """What an earlier report in JSON said."""
    from compliance.report.audit.contents import Contents
    from compliance.report.audit.made import kept

    try:
        return kept(msgspec.json.decode(_content(path), type=Contents))
    except msgspec.MsgspecError:
        raise ReportError("report_malformed", f"{path.name} is no report in JSON") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_REPORT + 1)
    if len(content) > _MAX_REPORT:
        raise ReportError("report_malformed", f"{path.name} is larger than any report")
    return content


def _value(contents: Contents, reports: list[str]) -> dict[str, Any]:
    return {
        "reports": reports,
        "evidence": contents.evidence,
        "witnessed": contents.inputs.witnessed,
        "records": contents.records.value,
        "controls": {one.id.partition(".")[2]: one.value for one in contents.counts},
    }

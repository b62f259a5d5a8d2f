"""What the reader should see to first: causes and remedies, each computed from the evidence and the box."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from compliance.keys import Kind
from compliance.report.evidence import Evidence
from compliance.report.wording import counted, plain

__all__ = ["Fix", "fix_first"]

# what lies with the box that must not, and what whoever takes it can do
_EXPOSED: Mapping[Kind, tuple[str, str]] = {
    "auditor-private": (
        "The auditor’s private key lies with the box.",  # noqa: RUF001 - typeset for a reader
        "Whoever takes it together with the box can read every call. Move it to the auditor and leave no copy.",
    ),
    "journal-root": (
        "The journal’s root key lies with the box.",  # noqa: RUF001 - typeset for a reader
        "Whoever takes it can certify keys, and sign another history with them. Move it to a safe place and leave no "
        "copy.",
    ),
}


class Fix(Struct, frozen=True):
    """What is wrong, and what that means and what to do."""

    lead: str
    text: str


def fix_first(evidence: Evidence, exposed: tuple[tuple[Kind, str], ...]) -> list[Fix]:
    """The worst first. `exposed` are private keys that were found with the box: of the auditor, or the root."""
    fixes = []
    for kind, path in exposed:
        lead, risk = _EXPOSED[kind]
        fixes.append(Fix(lead, f"It was found at {plain(path, 300)}. {risk}"))
    return [*fixes, *_about_calls(evidence), *_about_records(evidence)]


def _about_calls(evidence: Evidence) -> list[Fix]:
    fixes = []
    if evidence.recount is not None and evidence.recount.misdated:
        fixes.append(
            Fix(
                f"{counted(evidence.recount.misdated, 'call')} with an impossible time.",
                "The time is none, or later than the head that covers the record. Look at the clock of the box and at "
                "the programs that write into its journal. These calls are counted, but on no day.",
            )
        )
    if evidence.recount is not None:
        bare = [model for model in evidence.recount.models if model.answered and model.papers is None]
        if bare:
            answered = counted(sum(model.answered for model in bare), "call")
            fixes.append(
                Fix(
                    "A model answered without papers on record.",
                    f"Of {answered} the journal does not say how the model was made: its origin, recipe and licence "
                    "have to be shown in another way.",
                )
            )
    if evidence.unfinished:
        fixes.append(
            Fix(
                f"{counted(evidence.unfinished, 'allowed call')} without an outcome.",
                "The box was stopped between the call and its end, or the call was running when the journal was read. "
                "If it stays so in the next report, ask what stopped the box.",
            )
        )
    if not evidence.allowed and not evidence.refused:
        fixes.append(Fix("No call is on record.", "If models were used, they were used past this journal."))
    elif not evidence.refused:
        fixes.append(
            Fix(
                "No call was ever refused.",
                "That can be so; it can also mean that calls bypass the gate. Make one that the policy must refuse, "
                "and look for it in the next report.",
            )
        )
    return fixes


def _about_records(evidence: Evidence) -> list[Fix]:
    fixes = []
    if evidence.unsealed:
        fixes.append(
            Fix(
                f"{counted(evidence.unsealed, 'record')} behind the last signed head.",
                "They are written but not signed yet, and this report leaves them out. The box signs them while it "
                "runs, when it stops, or, after a power failure, when it is used next.",
            )
        )
    if evidence.gaps:
        fixes.append(
            Fix(
                f"Found torn {counted(evidence.gaps, 'time')}.",
                "After a crash or a power failure the box dropped what was half-written at the end of its journal, and "
                "went on. The journal tells of each. Ask what stopped the box.",
            )
        )
    if not evidence.given and evidence.witnessed is None:
        fixes.append(
            Fix(
                "Unwitnessed.",
                "No head of this journal was compared with one that is held outside the box. Keep a copy of this "
                "report, or of the heads below, where nobody who runs the box can change it, and compare next time.",
            )
        )
    return fixes

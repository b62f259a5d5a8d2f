"""sealpress consent"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.state.consents import Consent, ConsentError, Terms
from toolkit.box import Box, Context
from toolkit.cli import output, with_settings

__all__ = ["consent"]

_subject = click.option("--subject", required=True, help="Who, under the name that calls use for the person.")
_tenant = click.option("--tenant", help="Whose subject it is.  [default: the tenant of the settings]")


@click.group()
def consent() -> None:
    """Record, withdraw and show what persons agreed to."""


@consent.command()
@_subject
@click.option("--purpose", required=True, help="What for: a purpose of the settings that permits consent.")
@click.option("--explicit", is_flag=True, help="In express words, for this purpose alone (special categories need it).")
@click.option("--guardian", is_flag=True, help="Given or authorised by who has parental responsibility.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The day from which it counts no more, in UTC.")
@click.option(
    "--wording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The text that was agreed to; its SHA-256 is kept.",
)
@_tenant
@with_settings
def record(
    subject: str,
    purpose: str,
    explicit: bool,
    guardian: bool,
    expires: datetime | None,
    wording: Path | None,
    tenant: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Put on record that a person agreed to a purpose, and print the receipt. It counts from the next call on.

    Example: sealpress consent record --subject patient-7 --purpose search --explicit --json
    """
    Context(subject=subject, tenant=tenant)  # the same limits as in a call
    box = Box.open(settings)
    declared = box.settings.purposes.get(purpose)
    if declared is None or "consent" not in declared.bases:
        raise ConsentError("consent_purpose", f"the settings declare no purpose {purpose[:80]!r} that permits consent")
    with closing(box.journal) as journal:
        terms = Terms(
            purpose=purpose,
            at=journal.now(),
            expires=None if expires is None else int(expires.replace(tzinfo=UTC).timestamp()) * 10**9,
            explicit=explicit,
            guardian=guardian,
            wording=None if wording is None else _digest(wording),
        )
        made, tenant = Consent.to(terms), tenant or box.settings.box.tenant
        # on record before it counts: what stops in between leaves a record too many, never a consent without one
        journal.record("consent_given", _told(made), tenant)
        journal.checkpoint()
        box.consents.record(journal.salts, tenant, subject, made)
    output(made, as_json, f"{made.receipt}\n\nRecorded: {_line(made)}.")


@consent.command()
@_subject
@click.option("--purpose", required=True, help="What for.")
@click.option("--receipt", help="This consent alone.  [default: all that the person gave for the purpose]")
@_tenant
@with_settings
def withdraw(
    subject: str, purpose: str, receipt: str | None, tenant: str | None, settings: str | None, as_json: bool
) -> None:
    """Withdraw what a person agreed to. It counts for no call from now on, also for those that wait already.

    Example: sealpress consent withdraw --subject patient-7 --purpose search
    """
    box = Box.open(settings)
    tenant = tenant or box.settings.box.tenant
    with closing(box.journal) as journal:
        gone = box.consents.withdraw(journal.salts, tenant, subject, purpose, receipt, journal.now())
        for one in gone:
            journal.record("consent_withdrawn", _told(one), tenant)
        journal.checkpoint()
    output({"withdrawn": gone}, as_json, "\n".join(f"Withdrawn: {one.receipt}, {_line(one)}." for one in gone))


@consent.command()
@_subject
@click.option("--purpose", help="Only what was agreed to for this purpose.")
@_tenant
@with_settings
def show(subject: str, purpose: str | None, tenant: str | None, settings: str | None, as_json: bool) -> None:
    """Show what a person agreed to, and whether it still stands.

    Example: sealpress consent show --subject patient-7 --json
    """
    box = Box.open(settings)
    with closing(box.journal) as journal:
        found = box.consents.of(journal.salts, tenant or box.settings.box.tenant, subject, purpose)
    now = time.time_ns()
    value = {"consents": [{**_told(one), "stands": one.stands(now)} for one in found]}
    lines = [f"{one.receipt}  {'stands' if one.stands(now) else 'over  '}  {_line(one)}" for one in found]
    output(value, as_json, "\n".join(lines) or "No consent of this person is on record.")


def _digest(wording: Path) -> str:
    with wording.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _told(one: Consent) -> dict[str, Any]:
    """A consent as the journal tells of it: without the person, who stands behind the receipt."""
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _line(one: Consent) -> str:
    kinds = [kind for kind in ("explicit", "guardian") if getattr(one, kind)]
    parts = [one.purpose, *kinds, f"given {_day(one.at)}"]
    if one.expires is not None:
        parts.append(f"until {_day(one.expires)}")
    if one.withdrawn is not None:
        parts.append(f"withdrawn {_day(one.withdrawn)}")
    return ", ".join(parts)


def _day(at: int) -> str:
    return datetime.fromtimestamp(at // 10**9, UTC).date().isoformat()

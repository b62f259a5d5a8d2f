"""sealpress journal timestamp"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from compliance.disk import put
from compliance.journal.joint import join
from compliance.timestamps import MAX_RESPONSE, TIMESTAMPS, TimestampError, ask, roots_of, take
from compliance.verify.timestamp import Stamped
from compliance.witness.witnessed import last_joint_head
from toolkit.box import Box
from toolkit.box_keys import day_keys
from toolkit.cli import output, with_settings
from toolkit.stamping import asked

__all__ = ["timestamp"]


@click.command()
@click.option("--request", "out", type=click.Path(path_type=Path), help="Write a request over a new head to this file.")
@click.option(
    "--import",
    "answer",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take in the answer of the authority.",
)
@click.option("--url", help="Ask the authority at this address over the network, and take in what it answers.")
@with_settings
def timestamp(out: Path | None, answer: Path | None, url: str | None, settings: str | None, as_json: bool) -> None:
    """Have an authority stamp the time on a joint head (RFC 3161): all records below it stood by then.

    A box without network writes a request, which is carried to an authority, and takes in the answer within 7 days. The
    settings name the authority's root certificates: roots under [timestamps]. A token that holds is kept beside the
    journal, on record, and goes into evidence.

    Example: sealpress journal timestamp --request head.tsq, then sealpress journal timestamp --import head.tsr
    """
    if sum(one is not None for one in (out, answer, url)) != 1:
        raise click.UsageError("give one of --request, --import and --url")
    box = Box.open(settings)
    if out is not None:
        if out.exists():
            raise click.UsageError(f"{out} exists already: nothing is overwritten")
        put(out, _request(box))
        text = f"Wrote {out}: have the authority answer it, then: sealpress journal timestamp --import FILE"
        output({"request": str(out)}, as_json, text)
        return
    roots = _roots(box)
    if answer is not None:
        with answer.open("rb") as file:
            response = file.read(MAX_RESPONSE + 1)
    else:
        response = asked(str(url), _request(box))
    with closing(box.journal) as journal:
        stamped = take(box.folder / TIMESTAMPS, response, roots)
        told = {
            "token": stamped.token,
            "head": stamped.head,
            "head_at": stamped.head_at,
            "at": stamped.at,
            "authority": stamped.authority[:256],
        }
        journal.record("timestamped", told, box.settings.box.tenant)
        journal.checkpoint()
    output(told, as_json, _line(stamped))


def _request(box: Box) -> bytes:
    """Over a joint head that is signed now."""
    days = day_keys(box.folder, box.settings)
    join(box.journal_folder, days.keyring(), days.signer, time.time_ns())
    return ask(box.folder / TIMESTAMPS, last_joint_head(box.journal_folder))


def _roots(box: Box) -> tuple[bytes, ...]:
    named = box.settings.timestamps
    if named is None:
        raise TimestampError("timestamp_roots", f"{box.path} names no root of an authority for time")
    return roots_of([box.folder / one for one in named.roots])


def _line(stamped: Stamped) -> str:
    head, at = (
        datetime.fromtimestamp(moment // 10**9, UTC).isoformat(" ", "seconds")
        for moment in (stamped.head_at, stamped.at)
    )
    return f"{stamped.authority} stamped the head of {head} at {at}."

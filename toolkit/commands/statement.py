"""sealpress grant statement, and sealpress grant merge"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import rich_click as click

from compliance.disk import put
from compliance.keys import from_text
from compliance.state.grants.errors import GrantError
from compliance.state.grants.statement import (
    MAX_FILE,
    Recounted,
    Statement,
    collected,
    merged,
    read_statement,
    recounted,
    signed,
    totals,
)
from compliance.state.grants.tariff import MAX_FILE as MAX_TARIFF
from compliance.state.grants.tariff import Tariff, charged, read_tariff
from toolkit.box import Box
from toolkit.box_keys import day_keys
from toolkit.cli import output, with_settings
from toolkit.reading import on_box

__all__ = ["merge", "read_file", "statement"]

_tariffs = click.option(
    "--tariff",
    "tariffs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A tariff that grants name, to charge by.",
)


@click.command()
@click.option("--month", required=True, help="Which month, as 2026-11, in UTC.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "--auditor-key", "source", metavar="SOURCE", help="Count the records again with the auditor's private key."
)
@_tariffs
@with_settings
def statement(
    month: str, out: Path, source: str | None, tariffs: tuple[Path, ...], settings: str | None, as_json: bool
) -> None:
    """State what was used under each grant in a month, from the signed heads, and sign it with the key of today.

    With the auditor's key every number is taken again from the records: fewer than were signed are refused.

    Example: sealpress grant statement --month 2026-11 --out november.json
    """
    if out.exists():
        raise GrantError("usage_grant_exists", f"{out} exists already")
    prices = _prices(tariffs)
    box = Box.open(settings)
    days = day_keys(box.folder, box.settings)
    with closing(box.journal) as journal, closing(box.meter) as meter:
        at = journal.now()
        journal.checkpoint()
        grants = [kept.signed for kept in meter.all()]
        made = collected(box.journal_folder, days.keyring(), month, grants, at)
        again = None if source is None else _again(box, source, made)
        put(out, signed(made, days.key(at)))
    output(_told((made,), prices) | {"recount": again, "out": str(out)}, as_json, _text((made,), prices, again))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--root", "roots", required=True, multiple=True, help="The root key of a box, as ed25519:...; one for each."
)
@_tariffs
@with_settings
def merge(
    files: tuple[Path, ...], roots: tuple[str, ...], tariffs: tuple[Path, ...], settings: str | None, as_json: bool
) -> None:
    """Put usage statements of several boxes and months together. What several of them cover is counted once.

    Needs no box. Each statement has to be signed with a key that one of the roots has certified.

    Example: sealpress grant merge november.json other-box.json --root ed25519:... --root ed25519:...
    """
    keys = [from_text(root) for root in roots]
    found = merged(read_statement(read_file(file, MAX_FILE, "usage_statement_malformed"), keys) for file in files)
    prices = _prices(tariffs)
    output(_told(found, prices), as_json, _text(found, prices, None))


def read_file(file: Path, most: int, code: str) -> bytes:
    """What is in a file, and one byte more than may be, so that its reader refuses it. Raises GrantError."""
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except OSError as error:
        raise GrantError(code, f"{file} cannot be read: {error.strerror}") from None


def _again(box: Box, source: str, made: Statement) -> Recounted:
    with on_box(box, source) as reading:
        found = recounted(made, (located.opened(reading.source) for located in reading.walk))
        reading.tell("read", {"usage_statement": made.month})
        return found


def _prices(files: Sequence[Path]) -> dict[str, Tariff]:
    """The tariffs by their digests."""
    read = (read_tariff(read_file(file, MAX_TARIFF, "usage_grant_tariff")) for file in files)
    return {digest: tariff for tariff, digest in read}


def _told(statements: Sequence[Statement], prices: dict[str, Tariff]) -> dict[str, Any]:
    used = totals(statements)
    lines = [
        {"box": one.box, "month": one.month, **{name: getattr(use, name) for name in use.__struct_fields__}}
        | {"charge": _charge(use, prices)}
        for one in statements
        for use in one.grants
    ]
    charges: dict[str, Decimal] = {}
    for line in lines:
        if line["charge"] is not None:
            currency, amount = line["charge"]["currency"], line["charge"]["amount"]
            charges[currency] = charges.get(currency, Decimal(0)) + amount
    saved = max(0, used["parent_cpu_us"] - used["cpu_us"])
    return {"grants": lines, "totals": dict(used), "saved_cpu_us": saved, "charges": charges}


def _charge(use: Any, prices: dict[str, Tariff]) -> dict[str, Any] | None:
    """What a use costs, where it has a tariff and the file of it was given."""
    if use.tariff is None or use.tariff.digest not in prices:
        return None
    tariff = prices[use.tariff.digest]
    return {"amount": charged(tariff, use.tariff, use.used), "currency": tariff.currency, "band": use.tariff.band}


def _text(statements: Sequence[Statement], prices: dict[str, Tariff], again: Recounted | None) -> str:
    told = _told(statements, prices)
    lines = [
        f"{line['month']}  {line['grant']}  {line['issuer']} to {line['holder']}: "
        + ", ".join(f"{amount:,} {unit}" for unit, amount in sorted(line["used"].items()))
        + ("" if line["charge"] is None else f"; {line['charge']['amount']} {line['charge']['currency']}")
        for line in told["grants"]
    ]
    lines.append(
        f"Saved against the parents of the models: {told['saved_cpu_us'] / 1e6:,.1f} CPU-seconds, as measured."
    )
    lines += [f"Charged: {amount} {currency}" for currency, amount in sorted(told["charges"].items())]
    if again is not None:
        lines.append(f"Recounted from the records: {again.unread} outcomes could not be read.")
        lines += [
            f"Beyond the heads, since a process was killed: {grant} {used}" for grant, used in again.beyond.items()
        ]
    return "\n".join(lines)

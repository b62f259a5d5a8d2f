"""The options that say what a source and its data may be used for, where their own papers leave that open."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import reduce, wraps
from typing import Any

import rich_click as click

__all__ = ["with_licences"]


def with_licences(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options: it takes `licences`, as arguments of what it calls: `licence`, `licence_until` (a
    day, or None), `data_licence` and `parents`."""

    @wraps(command)
    def licensed(licence_until: datetime | None, **given: Any) -> None:
        said = {name: given.pop(name) for name in ("licence", "data_licence", "parents")}
        command(licences={**said, "licence_until": licence_until and licence_until.date()}, **given)

    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), licensed)


_OPTIONS = (
    click.option("--licence", help="SPDX identifier, where the source's own papers name none."),
    click.option(
        "--licence-until",
        type=click.DateTime(["%Y-%m-%d"]),
        help="The first day on which --licence and --parent count no more, in UTC.  [default: in 365 days]",
    ),
    click.option("--data-licence", help="SPDX identifier for --calibrate; LicenseRef-own for your own data."),
    click.option(
        "--parent",
        "parents",
        multiple=True,
        metavar="NAME=LICENCE|./FOLDER",
        help="Of a model that SOURCE was made from: its SPDX identifier, or the folder where its own papers lie.",
    ),
)

"""The options that say under what a model is asked or trained: what the policy decides on beside the content."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from typing import Any

import rich_click as click

from toolkit.box import Context

__all__ = ["with_context"]


def with_context(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options: it takes `context`."""

    @wraps(command)
    def under(data: tuple[str, ...], **given: Any) -> None:
        said = {name: given.pop(name) for name in _SAID}
        command(context=Context(**said, data=frozenset(data)), **given)

    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), under)


_SAID = ("purpose", "basis", "subject", "consent", "region", "override")
_OPTIONS = (
    click.option("--purpose", help="What for: one of the purposes that the settings declare."),
    click.option("--basis", help="The legal basis, needed when texts hold personal data."),
    click.option("--subject", help="Whose data it is, under a name of your own choice."),
    click.option("--consent", help="The receipt of a consent.  [default: the newest of the subject for the purpose]"),
    click.option("--region", help="Where the data belongs, as a country code."),
    click.option("--override", help="The name of an override that two persons opened: sealpress override."),
    click.option("--data", multiple=True, help="A category of personal data in what is given, e.g. health."),
)

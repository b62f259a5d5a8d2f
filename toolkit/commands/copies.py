"""What the commands of the auditor have in common: the key, and the journal that it opens, on its box or a copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from compliance.keys import from_text
from toolkit.box import Box
from toolkit.reading import Reading, on_box, on_copy
from toolkit.settings import found_settings, read_settings

__all__ = ["auditor_key", "opened", "root_given", "with_copy"]

_Command = Callable[..., None]

auditor_key = click.option(
    "--auditor-key",
    "source",
    required=True,
    metavar="SOURCE",
    help="The auditor's private key: a file, env:NAME, or command:PROGRAM ARGUMENT ...",
)


def with_copy(command: _Command) -> _Command:
    """The options that name a copy of a journal, away from its box."""
    command = click.option("--key", help="The root key of the copy, or its fingerprint.  [default: the settings']")(
        command
    )
    return click.option(
        "--journal",
        "directory",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="A copy of a journal, away from its box.",
    )(command)


@contextmanager
def opened(
    source: str, directory: Path | None, key: str | None, releases: Sequence[Path], settings: str | None
) -> Iterator[Reading]:
    """The journal that the options name, opened with the auditor's key: that of the box, or a copy with releases."""
    if directory is not None:
        yield on_copy(directory, root_given(key, settings), source, releases)
        return
    if releases or key is not None:
        raise click.UsageError("--releases and --key are for a copy, which --journal names")
    with on_box(Box.open(settings), source) as reading:
        yield reading


def root_given(key: str | None, settings: str | None) -> bytes | str:
    """The root's key, or its fingerprint, as given or else as the settings have it. Raises KeyFault, SettingsError."""
    if key is None:
        return from_text(read_settings(found_settings(settings)).journal.root)
    return key.lower() if re.fullmatch("[0-9A-Fa-f]{64}", key) else from_text(key)

"""The `sealpress` command. Every sub-command comes in by an entry point, ours too, so this imports none of them.

Exit status: 0 done; 1 content refused or not verified; 2 arguments, missing files or settings; 3 disk, memory or our
own fault. With --json, standard output holds one JSON value, also for an error.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import rich_click as click
from rich.console import Console

from policies.errors import Denied, Failed, Fault, Refused, Unusable

__all__ = ["main", "output", "with_settings"]

GROUP = "sealpress.commands"
_F = TypeVar("_F", bound=Callable[..., Any])


class Commands(click.RichGroup):
    """The sub-commands, loaded one at a time when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _commands().get(cmd_name)
        command: click.Command | None = None if found is None else found.load()
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sealpress")
def sealpress() -> None:
    """Press models small, and seal every use of them.

    Start with `sealpress init my-box`, then `cd my-box`. Every command takes --help.
    """


def with_settings(command: _F) -> _F:
    """The two options that every command takes."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text.")(command)
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False),
        envvar="SEALPRESS_SETTINGS",
        help="The settings to work with.  [default: ./sealpress.toml]",
    )(command)


def output(value: Any, as_json: bool, text: str) -> None:
    """Print the result of a command: the value as JSON, or the text for a person."""
    click.echo(msgspec.json.encode(value).decode() if as_json else text)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_status(arguments))


def _commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _status(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    try:
        status = sealpress.main(arguments, prog_name="sealpress", standalone_mode=False)
    except click.ClickException as error:
        if not as_json:
            error.show()
        else:
            _print_json({"code": "usage", "message": error.format_message(), "hint": "See --help."})
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Fault as fault:
        return _failed(fault, as_json)
    except MemoryError:
        return _failed(Failed("memory", "there is not enough memory"), as_json)
    except OSError as error:
        return _failed(Failed("disk", f"{error.filename or 'a file'}: {error.strerror}"), as_json)
    except Exception as error:  # noqa: BLE001 - the last line before the user
        # the type and the place only: a message or a traceback might hold something of a payload
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        return _failed(Failed("internal", where), as_json)
    return status if isinstance(status, int) else 0


def _failed(fault: Fault, as_json: bool) -> int:
    value: dict[str, Any] = {"code": fault.code, "message": str(fault), "hint": fault.hint}
    if isinstance(fault, Denied):
        value["findings"] = fault.findings
    if as_json:
        _print_json(value)
    else:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        console.print(f"{fault.code}: {fault}", style="bold red")
        # the check-list is longer than a screen: what stands against it comes last, where the eye is
        for finding in sorted(value.get("findings", ()), key=lambda one: not one.ok):
            console.print(f"  {'ok    ' if finding.ok else 'NOT OK'}  {finding.rule}: {finding.reason}")
        console.print(fault.hint)
    if isinstance(fault, Refused):
        return 1
    return 2 if isinstance(fault, Unusable) else 3


def _print_json(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())

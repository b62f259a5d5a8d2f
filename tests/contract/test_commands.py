"""What every command owes its user: both common options, help that says what it does, and an example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]


def commands() -> Iterator[tuple[str, click.Command]]:
    def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            for child in command.commands.values():
                yield from leaves(f"{name} {child.name}", child)
        else:
            yield name, command
            for child in getattr(command, "beside", {}).values():
                yield f"{name} {child.name}", child

    for point in entry_points(group="sealpress.commands"):
        yield from leaves(point.name, point.load())


ALL = dict(commands())
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_command_takes_the_common_options_and_explains_itself(name: str) -> None:
    command = ALL[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--settings"} <= options
    assert command.help
    assert f"Example: sealpress {name}" in command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} of {name} has no help"


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_name_commands_and_options_that_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    names = {name.split(" ")[0] for name in ALL}
    for line in re.findall(r"sealpress ((?:[a-z-]+ ?){1,3}[^\n`#|]*)", text):
        words = line.split()
        if words[0] not in names:
            continue  # prose, not a command
        name = next((known for known in (" ".join(words[:n]) for n in (3, 2, 1)) if known in ALL), "")
        assert name, f"{page}: sealpress {line}"
        known = {option for parameter in ALL[name].params for option in parameter.opts}
        used = set(re.findall(r"(?<![\w-])--[a-z-]+", line))
        assert used <= known, f"{page}: sealpress {line}"

"""How far a long command has come, shown on a terminal while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["progress", "spinner"]


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """The context is to be told how much more is done, in the unit of the total."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """The context is to be told what is done now."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("start", total=None)
        yield lambda step: bar.update(task, description=step)

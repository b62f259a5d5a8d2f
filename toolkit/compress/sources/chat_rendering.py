"""Render a chat template, in a process of its own: a template is a program, and one that never ends is as easily
written as one that eats all memory. Run as a file; reads a JSON object on standard input and writes one.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1_000_000_000
SECONDS = 10


def main() -> None:
    _bound()
    asked = json.load(sys.stdin)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    rendered: list[str | None] = []
    try:
        template = environment.from_string(asked["template"])
    except TemplateError as error:
        json.dump({"error": f"{type(error).__name__}: {error}"[:300]}, sys.stdout)
        return
    for one in asked["chats"]:
        try:
            rendered.append(template.render(**one, **asked["tokens"]))
        except Exception:  # noqa: BLE001 - whatever the program of a stranger does: it does not take this chat
            rendered.append(None)
    json.dump({"rendered": rendered}, sys.stdout)


def _refuse(message: Any) -> NoReturn:
    raise TemplateError(str(message)[:300])


def _bound() -> None:
    """At most so much memory and time, where the system has such bounds."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


if __name__ == "__main__":
    main()

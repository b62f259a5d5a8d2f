"""The texts of the licences in the table, word for word.

This is the one place in `policies` that reads files. They are part of the package, like its code, and are read once
when it is imported: no call, setting or working directory decides what is read.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["TEXTS", "text"]

TEXTS: dict[str, str] = {
    spdx: files(__package__).joinpath("texts", f"{spdx}.txt").read_text(encoding="utf-8")
    for spdx in ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-NC-4.0")
}


def text(spdx: str) -> str:
    """The canonical text of a licence in the table, for a bundle whose source brought none.

    The MIT licence has a line for the copyright holder; it is left as the template has it.
    """
    return TEXTS[spdx]

"""Press models small, and seal every use of them.

    model = sealpress.load("model.bundle")
    vectors = model.embed(["some text"], purpose="search")

The front door: it re-exports, after it has made sure that the rooms behind it are its own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

for _name in ("policies", "compliance", "toolkit", "serve"):
    _spec = find_spec(_name)
    _origin = Path(_spec.origin).resolve() if _spec is not None and _spec.origin else None
    if _origin is None or _origin.parent.parent != Path(__file__).resolve().parent:
        raise ImportError(
            f"foreign_package: the package {_name!r} that Python finds is not part of sealpress ({_origin}). "
            f"Rename or move your own folder {_name!r}, or start Python elsewhere."
        )

if TYPE_CHECKING:
    from policies.errors import Denied, Fault
    from toolkit.bundle import Bundle
    from toolkit.cli import main
    from toolkit.compress import compress
    from toolkit.model import Model, load

__all__ = ["Bundle", "Denied", "Fault", "Model", "compress", "load", "main"]

HOMES = {
    "Bundle": "toolkit.bundle",
    "Denied": "policies.errors",
    "Fault": "policies.errors",
    "Model": "toolkit.model",
    "compress": "toolkit.compress",
    "load": "toolkit.model",
    "main": "toolkit.cli",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first asked for (PEP 562): a command waits for what it needs alone."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    found = globals()[name] = getattr(import_module(HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Press models small, and seal every use of them.

    model = sealpress.load("model.bundle")
    vectors = model.embed(["some text"], purpose="search")

The front door: it re-exports, after it has made sure that the rooms behind it are its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

for _name in ("policies", "compliance", "toolkit", "serve"):
    _spec = find_spec(_name)
    _origin = Path(_spec.origin).resolve() if _spec is not None and _spec.origin else None
    if _origin is None or _origin.parent.parent != Path(__file__).resolve().parent:
        raise ImportError(
            f"foreign_package: the package {_name!r} that Python finds is not part of sealpress ({_origin}). "
            f"Rename or move your own folder {_name!r}, or start Python elsewhere."
        )

from policies.errors import Denied, Fault  # noqa: E402 - only after the check above
from toolkit.bundle import Bundle  # noqa: E402 - only after the check above
from toolkit.cli import main  # noqa: E402 - only after the check above
from toolkit.compress import compress  # noqa: E402 - only after the check above
from toolkit.model import Model, load  # noqa: E402 - only after the check above

__all__ = ["Bundle", "Denied", "Fault", "Model", "compress", "load", "main"]

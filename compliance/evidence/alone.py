"""The verifier as one file: compliance/verify and what it stands on, unchanged, in a zip that Python runs (PEP 441).

Nothing is compressed, so that whoever wants to read what runs can, and the same sources give the same bytes.
"""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from compliance.verify.archive import DATE

__all__ = ["alone"]

_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = """import sys

try:
    from compliance.verify.alone import main
except ImportError as error:
    sys.exit(f"audit.pyz needs Python 3.11 and cryptography 50, or later ones: {error}")
sys.exit(main())
"""
_BESIDE = {"compliance": ("__init__.py", "crypto.py"), "policies": ("__init__.py", "errors.py")}


def alone() -> bytes:
    """The bytes of audit.pyz."""
    sources = {"__main__.py": _MAIN.encode()}
    for package, names in _BESIDE.items():
        sources.update({f"{package}/{name}": (files(package) / name).read_bytes() for name in names})
    for source in files("compliance.verify").iterdir():
        if source.name.endswith(".py"):
            sources[f"compliance/verify/{source.name}"] = source.read_bytes()
    made = BytesIO()
    made.write(_SHEBANG)
    with ZipFile(made, "w") as out:
        for name, content in sorted(sources.items()):
            info = ZipInfo(name, DATE)
            info.compress_type, info.create_system, info.external_attr = ZIP_STORED, 3, 0o100644 << 16
            out.writestr(info, content)
    return made.getvalue()

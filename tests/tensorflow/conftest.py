"""What tests that need the extra tensorflow share: quiet libraries, and the gate that lets a model run."""

from __future__ import annotations

import os

from tests.unit.toolkit.compress.conftest import gated as gated

# read when the library is loaded
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

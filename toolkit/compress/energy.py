"""What the processor's own counters say of energy, on hosts that show them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["joules"]

# the packages of the processor in Linux's power capping framework; what lies below a package is counted in it
COUNTERS = Path("/sys/class/powercap")


def joules(work: Callable[[], None], counters: Path = COUNTERS) -> float | None:
    """The energy of all packages while `work` ran; None where the host does not tell, or a counter went round."""
    packages = sorted(path / "energy_uj" for path in counters.glob("intel-rapl:?"))
    try:
        before = [int(path.read_text()) for path in packages]
        work()
        used = [int(path.read_text()) - start for path, start in zip(packages, before, strict=True)]
    except (OSError, ValueError):
        work()
        return None
    return sum(used) / 1e6 if used and min(used) >= 0 else None

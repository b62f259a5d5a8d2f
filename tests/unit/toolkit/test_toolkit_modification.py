"""Whether what pressing changed was foreseen, by what was declared before."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from toolkit.modification import Modification


@pytest.mark.parametrize(
    ("fidelity", "measured", "finding", "why"),
    [
        (0.95, {"all": 0.96, "class a": 0.95}, "inside plan", "all items and each slice keep to"),
        (0.95, {"all": 0.96, "class a": 0.94}, "needs a person", "declared: class a"),
        (0.95, {"all": 0.96, "class a": float("nan")}, "needs a person", "declared: class a"),
        (None, {"all": 0.99}, "needs a person", "no fidelity was declared"),
    ],
)
def test_what_was_declared_decides(fidelity: float | None, measured: dict[str, float], finding: str, why: str) -> None:
    found = Modification.of("ab" * 32, ("distil",), "", fidelity, measured, UNSET)
    assert found.finding == finding
    assert why in found.why
    assert all(low == low for low in found.measured.values())

"""docs/steps.md says of every kind what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.compress.kinds import OWN

PAGE = Path(__file__).resolve().parents[5] / "docs" / "steps.md"


def test_the_page_has_a_true_line_for_each_kind() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\w, ]+) \| (\w+) \| (yes|no) \| .+ \| .+ \|$", PAGE.read_text("utf-8"), re.M
    )
    assert {row[0]: row[1:] for row in rows} == {
        kind: (", ".join(sorted(step.takes)), step.gives or "same", "yes" if step.calibrates else "no")
        for kind, step in OWN.items()
    }
    assert [row[0] for row in rows] == sorted(OWN)

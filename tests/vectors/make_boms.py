"""How the golden bills of materials were made: `python -m tests.vectors.make_boms`, of the bundle golden-lineage-v1.

The formats are those of others, so that these files may be made again where we have more to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from compliance.keys import to_text
from tests.vectors.make_bundles import HERE as BUNDLES
from tests.vectors.make_bundles import SIGNER
from toolkit.bom.contents import Said
from toolkit.bom.cyclonedx import cyclonedx
from toolkit.bom.spdx import spdx
from toolkit.bundle import Bundle

HERE = Path(__file__).resolve().parent / "boms"
SAID = Said(
    created=datetime(2026, 11, 29, 12, tzinfo=UTC),
    released=datetime(2026, 11, 28, tzinfo=UTC),
    location="https://models.example/golden.tar",
)


def main() -> None:
    bundle = Bundle.read(BUNDLES / "golden-lineage-v1", {to_text(SIGNER.public)})
    (HERE / "golden-lineage.cdx.json").write_bytes(cyclonedx(bundle, SAID))
    (HERE / "golden-lineage.spdx.json").write_bytes(spdx(bundle, SAID))


if __name__ == "__main__":
    main()

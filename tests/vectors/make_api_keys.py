"""How the golden stores of API keys were made: `python -m tests.vectors.make_api_keys`.

The files under tests/vectors/api-keys are kept: what a release has written must be read by every later one. Run this
only for a new format; it refuses to overwrite.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from compliance.state.api_key_table import FORMAT, Defaults, Terms
from compliance.state.api_keys import ApiKeys
from compliance.state.usage import Usage

HERE = Path(__file__).resolve().parent / "api-keys"
NOW = 1_800_000_000 * 10**9
CERTIFICATE = b"the DER of a certificate"
TERMS = Terms(
    name="ward 3",
    tenant="clinic",
    models=("minilm@1.*", "triage"),
    purposes=("search", "product"),
    regions=("DE", "FR"),
    admin=True,
    rate_per_s=2.5,
    burst=7,
    concurrent=3,
    tokens_per_minute=6_000,
    tokens_per_day=90_000,
    defaults=Defaults(purpose="search", basis="consent", region="DE", subject="patient-7", consent="receipt-9"),
)


def main() -> None:
    with TemporaryDirectory() as folder, closing(ApiKeys(Path(folder))) as keys, closing(Usage(Path(folder))) as usage:
        made, text = keys.create(NOW, TERMS, expires=NOW + 10**18, calls=100)
        for _ in range(3):
            usage.reserve(made.account)
        usage.saw(made.id, NOW)
        usage.hold(made.account, 700, NOW // 10**9, per_minute=6_000, per_day=90_000)
        _, rotated, _ = keys.rotate(made.id, NOW + 1, overlap=10**17)
        bound, _ = keys.create(NOW + 2, certificate=CERTIFICATE)
        keys.revoke(bound.id, NOW + 3)
        image = keys.image()
        assert image is not None
        with (HERE / f"format-{FORMAT}.sqlite").open("xb") as file:
            file.write(image)
        (HERE / f"format-{FORMAT}.key").write_text(f"{text}\n{rotated}\n", "utf-8")


if __name__ == "__main__":
    main()

"""How the golden declaration was made: `python -m tests.vectors.make_declaration`.

What a release has written must stay readable. Run this only for a new format; it refuses to overwrite.
"""

from __future__ import annotations

from pathlib import Path

from tests.declaring import declaration

HERE = Path(__file__).resolve().parent / "declarations"
NOW = 1_800_000_000 * 10**9


def main() -> None:
    HERE.mkdir(exist_ok=True)
    made = declaration("ab" * 16, NOW, domicile="DE", users=4_000, revenue=90_000_000, commercial=False)
    with (HERE / "format-1.declaration").open("xb") as file:
        file.write(made.file)


if __name__ == "__main__":
    main()

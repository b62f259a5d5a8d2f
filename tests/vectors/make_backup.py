"""How the golden backup was made: `python -m tests.vectors.make_backup`.

The files under tests/vectors/backups are kept: what a release has written must be restored by every later one. Run this
only for a new format; it refuses to overwrite. Its salts expire in a century, which `sealpress backup` would not do.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from compliance.state.api_key_table import Defaults, Terms
from compliance.state.api_keys import ApiKeys
from compliance.state.disposition import Disposition, Scope
from tests.journals import DONE, opened
from toolkit.backup import back_up
from toolkit.box import Box
from toolkit.new_box import create_box
from toolkit.settings import NAME

HERE = Path(__file__).resolve().parent / "backups"
CENTURY = 36_500  # days


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        apart = create_box(Path(folder) / "box")
        box = Box.open(Path(folder) / "box" / NAME)
        with closing(box.journal) as journal, closing(ApiKeys(box.folder / "state")) as keys:
            journal.closed(opened(journal, subject="patient-7"), DONE)
            keys.create(journal.now(), Terms(defaults=Defaults(purpose="search")))
            with Disposition.open(box.salts_path) as disposition:
                disposition.hold("clinic", Scope(class_="infer"), "court", journal.now())
            journal.checkpoint()
            if not (HERE / "format-1.tar").exists():
                back_up(box, HERE / "format-1.tar", CENTURY, lambda _: None)
                (HERE / "format-1.auditor.key").write_bytes(apart.auditor.read_bytes())


if __name__ == "__main__":
    main()

"""Rules about the files themselves: their names, the reasons beside what they ignore, and no machine's own paths."""

from __future__ import annotations

import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAGUE = {"common", "helper", "helpers", "misc", "util", "utils"}
# put together, so that this file does not hold what it looks for
MACHINE_PATHS = [f"/{folder}/".encode() for folder in ("work", "root")]
IGNORE = re.compile(r"#\s*(?:type:\s*ignore|noqa)\b")
WITH_REASON = re.compile(r"#\s*(?:type:\s*ignore\[[\w, -]+\]|noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)\s*\W*\s+\w+ \w+")


def repository() -> list[Path]:
    """What is tracked, or would be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


FILES = repository()


def test_the_list_is_of_this_repository() -> None:
    assert Path(__file__).resolve() in FILES


def test_no_file_or_folder_has_a_vague_name() -> None:
    vague = [
        path
        for path in FILES
        if VAGUE & {Path(part).stem.lower().removeprefix("test_") for part in path.relative_to(ROOT).parts}
    ]
    assert vague == []


def test_every_ignore_has_its_codes_and_its_reason_beside_it() -> None:
    bare = []
    for path in FILES:
        if path.suffix == ".py":
            with tokenize.open(path) as source:
                bare += [
                    f"{path.relative_to(ROOT)}:{token.start[0]} {token.string}"
                    for token in tokenize.generate_tokens(source.readline)
                    if token.type == tokenize.COMMENT
                    if IGNORE.search(token.string) and not WITH_REASON.search(token.string)
                ]
    assert bare == []


@pytest.mark.parametrize(
    ("comment", "fine"),
    [
        ("# type: ignore[misc]  # the stubs say Any", True),
        ("# noqa: S603 - the command is ours", True),
        ("# noqa: S603, S607  # the command is ours", True),
        ("# type: ignore[misc]", False),
        ("# type: ignore  # the stubs say Any", False),
        ("# noqa: S603", False),
        ("# noqa: S603, S607", False),
        ("# noqa", False),
    ],
)
def test_what_counts_as_a_reason(comment: str, fine: bool) -> None:
    assert IGNORE.search(comment)
    assert bool(WITH_REASON.search(comment)) is fine


def test_no_file_holds_a_path_of_one_machine() -> None:
    found = [path for path in FILES if any(known in path.read_bytes() for known in MACHINE_PATHS)]
    assert found == []

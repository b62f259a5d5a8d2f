"""What a compression learns from and what it is measured on: items that a person gives, never the same in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from policies.payload import InputError
from toolkit.compress.errors import DataError

__all__ = ["Data", "Items", "read_texts", "texts"]

MAX_FILE = 100_000_000
MAX_ITEMS = 100_000


class Items(Struct, frozen=True, kw_only=True):
    """Items of one kind, as the reader of the model takes them: texts, images as encoded bytes, or named tensors.

    `digest` is the SHA-256 over all of them in order, with what else is known of each. `labels` (class names) and
    `scores` (numbers) are empty or as many as the items; `classes` sort the items into slices by a name of the user's
    (a language, a ward), empty or as many.
    """

    items: tuple[Any, ...]
    digest: str
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()


class Data(Struct, frozen=True, kw_only=True):
    """Both sets of a run. Raises DataError "data_overlap" where an item stands in both."""

    calibrate: Items
    evaluate: Items

    def __post_init__(self) -> None:
        shared = set(map(_identity, self.calibrate.items)) & set(map(_identity, self.evaluate.items))
        if shared:
            raise DataError("data_overlap", f"{len(shared)} items stand in the calibration and in the evaluation")


class _Line(Struct, forbid_unknown_fields=True):
    text: str
    label: str | None = None
    score: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    slice: str | None = None


def texts(given: Iterable[str]) -> Items:
    """Texts without anything known of them. Raises DataError."""
    return _items([_Line(text=text) for text in given])


def read_texts(path: Path) -> Items:
    """The texts of a file: one a line, or in a .jsonl one object a line with `text` and, if known, `label`, `score`
    and `slice`. Of a folder, all such files in it by name. Raises DataError.
    """
    lines: list[_Line] = []
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.suffix not in (".txt", ".jsonl"):
            raise DataError("data_format", f"{file} is no .txt and no .jsonl file")
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_FILE + 1)
            if len(content) > MAX_FILE:
                raise DataError("data_too_large", f"{file} has more than {MAX_FILE} bytes")
            written = [line for line in content.decode().splitlines() if line.strip()]
            kind = file.suffix
            for number, line in enumerate(written, start=1):
                lines.append(msgspec.json.decode(line, type=_Line) if kind == ".jsonl" else _Line(text=line))
        except OSError as error:
            raise DataError("data_not_found", f"{file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError("data_format", f"{file} is no UTF-8") from None
        except msgspec.MsgspecError as error:
            raise DataError("data_format", f"{file}, object {number}: {error}") from None
    return _items(lines)


def _items(lines: list[_Line]) -> Items:
    if not lines:
        raise DataError("data_empty", "there is no item")
    if len(lines) > MAX_ITEMS:
        raise DataError("data_too_large", f"{len(lines)} items; at most {MAX_ITEMS} are taken")
    if not all(isinstance(line.text, str) and line.text.strip() for line in lines):
        raise InputError("input_empty", "one of the texts is empty")
    for field in ("label", "score", "slice"):
        known = sum(getattr(line, field) is not None for line in lines)
        if 0 < known < len(lines):
            raise DataError("data_format", f"{known} of {len(lines)} items have a {field}: all must have it, or none")
    return Items(
        items=tuple(line.text for line in lines),
        digest=hashlib.sha256(msgspec.json.encode(lines)).hexdigest(),
        labels=tuple(line.label for line in lines if line.label is not None),
        scores=tuple(line.score for line in lines if line.score is not None),
        classes=tuple(line.slice for line in lines if line.slice is not None),
    )


def _identity(item: object) -> bytes:
    """The same for items that differ in case and spaces only."""
    plain = " ".join(item.casefold().split()) if isinstance(item, str) else repr(item)
    return hashlib.sha256(plain.encode(errors="surrogatepass")).digest()

"""What a compression learns from and what it is measured on: items that a person gives, never the same in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from policies.payload import InputError
from toolkit.compress.errors import ItemsError

__all__ = ["NONE", "Data", "Items", "Kind", "Marked", "gathered", "identity", "read_items", "shown"]

Kind = Literal["text", "image", "tensors"]

MAX_FILE = 100_000_000
MAX_ITEMS = 100_000
MAX_CHOICES = 100
SHOWN = 200  # characters of a text in a report
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Marked(Struct, frozen=True, forbid_unknown_fields=True):
    """An entity in a text as a person marked it: `text[start:end]`, in characters, is a `label`."""

    start: Annotated[int, Meta(ge=0)]
    end: int
    label: str


class Items(Struct, frozen=True, kw_only=True):
    """Items of one kind, as the reader of the model takes them: texts, images as encoded bytes, or named tensors.

    `digest` is the SHA-256 over all of them in order, with what else is known of each. `labels` (class names),
    `scores` (numbers), `entities` (those that a person marked) and `answers` (that a person wrote to each, as to a
    prompt) are empty or as many as the items; `classes` sort the items into slices by a name of the user's (a language,
    a ward), empty or as many. `choices` are some ways to go on with each text, one of which is its answer.
    """

    items: tuple[Any, ...]
    digest: str
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    entities: tuple[tuple[Marked, ...], ...] = ()
    classes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    choices: tuple[tuple[str, ...], ...] = ()


NONE = Items(items=(), digest="")


class Data(Struct, frozen=True, kw_only=True):
    """Both sets of a run. Raises ItemsError "data_overlap" where an item stands in both."""

    calibrate: Items
    evaluate: Items

    def __post_init__(self) -> None:
        shared = set(map(identity, self.calibrate.items)) & set(map(identity, self.evaluate.items))
        if shared:
            raise ItemsError("data_overlap", f"{len(shared)} items stand in the calibration and in the evaluation")

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each set that has items."""
        sets = {"calibrate": self.calibrate, "evaluate": self.evaluate}
        return {name: items.digest for name, items in sets.items() if items.items}


class _Line(Struct, forbid_unknown_fields=True):
    """A line of a .jsonl file. `image` is a path, from the folder of that file."""

    text: str | None = None
    image: str | None = None
    label: str | None = None
    score: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    slice: str | None = None
    entities: tuple[Marked, ...] | None = None
    answer: str | None = None
    choices: Annotated[tuple[str, ...], Meta(min_length=2, max_length=MAX_CHOICES)] | None = None


class _Known(Struct):
    """An item, and what is known of it."""

    item: Any
    label: str | None = None
    score: float | None = None
    slice: str | None = None
    entities: tuple[Marked, ...] | None = None
    answer: str | None = None
    choices: tuple[str, ...] | None = None


def gathered(given: Iterable[Any], kind: Kind) -> Items:
    """Items without anything known of them: texts, encoded images or their paths, or tensors by name.

    Raises ItemsError, InputError.
    """
    return _items([_Known(_image(item) if kind == "image" else item) for item in given], kind)


def read_items(path: Path, kind: Kind) -> Items:
    """The items of a file. Raises ItemsError, InputError.

    .txt: a text or the path of an image a line; .jsonl: an object a line with `text` or `image`, and if known `label`,
    `score`, `slice`, `entities`, `answer` and the `choices` that it is one of; of a folder, all such files in it by
    name, or the images themselves. Tensors come as one .safetensors file an item, which holds every input of the model
    by its name.
    """
    if not path.exists():
        raise ItemsError("data_not_found", f"there is nothing at {path}")
    files = sorted(file for file in path.iterdir() if not file.name.startswith(".")) if path.is_dir() else [path]
    return _items([known for file in files for known in _read(file, kind)], kind)


def identity(item: object) -> bytes:
    """The same for texts that differ in case and spaces only, and for the same bytes or numbers."""
    if isinstance(item, str):
        return hashlib.sha256(" ".join(item.casefold().split()).encode(errors="surrogatepass")).digest()
    digest = hashlib.sha256(item if isinstance(item, bytes) else b"")
    for name, array in sorted(item.items()) if isinstance(item, Mapping) else ():
        digest.update(f"{len(name)} {name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def shown(item: object) -> str:
    """An item as a report names it: a text is cut short."""
    if isinstance(item, str):
        return item if len(item) <= SHOWN else f"{item[:SHOWN]} ..."
    return "an image" if isinstance(item, bytes) else "tensors"


def _read(file: Path, kind: Kind) -> Iterator[_Known]:
    if kind == "tensors":
        yield _Known(_tensors(file))
    elif kind == "image" and file.suffix.lower() in IMAGES:
        yield _Known(_bytes(file))
    elif file.suffix == ".txt":
        for line in _lines(file):
            yield _Known(line if kind == "text" else _bytes(file.parent / line))
    elif file.suffix == ".jsonl":
        for number, line in enumerate(_lines(file), start=1):
            try:
                read = msgspec.json.decode(line, type=_Line)
            except msgspec.MsgspecError as error:
                raise ItemsError("data_format", f"{file}, object {number}: {error}") from None
            item = read.text if kind == "text" else read.image
            if item is None:
                raise ItemsError("data_format", f"{file}, object {number}: there is no `{kind}`")
            given = item if kind == "text" else _bytes(file.parent / item)
            yield _Known(given, read.label, read.score, read.slice, read.entities, read.answer, read.choices)
    else:
        raise ItemsError("data_format", f"{file} is no .txt and no .jsonl file" + (", no image" * (kind == "image")))


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in _bytes(file).decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ItemsError("data_format", f"{file} is no UTF-8") from None


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise ItemsError("data_not_found", f"{file}: {getattr(error, 'strerror', error)}") from None
    if len(content) > MAX_FILE:
        raise ItemsError("data_too_large", f"{file} has more than {MAX_FILE} bytes")
    return content


def _image(item: object) -> bytes:
    return item if isinstance(item, bytes) else _bytes(Path(str(item)))


def _tensors(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if file.suffix != ".safetensors":
        raise ItemsError("data_format", f"{file} is no .safetensors file, and the model takes tensors")
    try:
        return load(_bytes(file))
    except (SafetensorError, ValueError, TypeError) as error:
        raise ItemsError("data_format", f"{file}: {str(error)[:200]}") from None


def _items(known: list[_Known], kind: Kind) -> Items:
    if not known:
        raise ItemsError("data_empty", "there is no item")
    if len(known) > MAX_ITEMS:
        raise ItemsError("data_too_large", f"{len(known)} items; at most {MAX_ITEMS} are taken")
    expected: dict[Kind, type] = {"text": str, "image": bytes, "tensors": Mapping}
    if not all(isinstance(one.item, expected[kind]) for one in known):
        raise InputError("input_type", f"an item is no {kind}, which the model takes")
    if kind == "text" and not all(one.item.strip() for one in known):
        raise InputError("input_empty", "one of the texts is empty")
    if kind != "text" and any(one.answer is not None for one in known):
        raise ItemsError("data_format", "an answer is one to a text")
    if any(one.answer is not None and not one.answer.strip() for one in known):
        raise InputError("input_empty", "one of the answers is empty")
    for one in known:
        if one.choices is not None and (one.answer not in one.choices or len(set(one.choices)) < len(one.choices)):
            raise ItemsError("data_format", "`choices` are different texts, and the `answer` is one of them")
        if one.choices is not None and not all(choice.strip() for choice in one.choices):
            raise InputError("input_empty", "one of the choices is empty")
        size = len(one.item) if kind == "text" else 0
        if any(not entity.start < entity.end <= size for entity in one.entities or ()):
            raise ItemsError("data_format", "an entity lies outside of its text, or has no characters")
    for field in ("label", "score", "slice", "entities", "answer", "choices"):
        some = sum(getattr(one, field) is not None for one in known)
        if 0 < some < len(known):
            raise ItemsError("data_format", f"{some} of {len(known)} items have a {field}: all must have it, or none")
    digest = hashlib.sha256()
    for one in known:
        exact = one.item.encode(errors="surrogatepass") if isinstance(one.item, str) else b""
        digest.update(hashlib.sha256(exact).digest() + identity(one.item))
        marked = () if one.entities is None else (one.entities,)
        answered = () if one.answer is None else (marked, one.answer, *(one.choices or ()))
        digest.update(msgspec.json.encode((one.label, one.score, one.slice, *(answered or marked))))
    return Items(
        items=tuple(one.item for one in known),
        digest=digest.hexdigest(),
        labels=tuple(one.label for one in known if one.label is not None),
        scores=tuple(one.score for one in known if one.score is not None),
        classes=tuple(one.slice for one in known if one.slice is not None),
        entities=tuple(one.entities for one in known if one.entities is not None),
        answers=tuple(one.answer for one in known if one.answer is not None),
        choices=tuple(one.choices for one in known if one.choices is not None),
    )

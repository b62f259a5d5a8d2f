"""The papers of a source: what its model card and its licence files say about the terms. Read, not judged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import yaml  # type: ignore[import-untyped]  # no types are published with it
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from msgspec import Struct

from policies.licences import bound, identify
from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import Folder

__all__ = ["Papers", "read_papers"]

MAX_CARD = 1_000_000
MAX_LICENCE = 200_000
MAX_FRONT_MATTER = 200_000
MAX_LANGUAGES = 200
MAX_BASES = 32
MAX_NAME = 200
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying)([._-][a-z0-9._-]+)?", re.I)
_LANGUAGE = re.compile(r"[A-Za-z]{2,16}(-[A-Za-z0-9]{1,8}){0,3}")
_NOTICE_FILE = re.compile(r"notice(\.(txt|md))?", re.I)
_USE_POLICY_FILE = re.compile(r"(acceptable[._-]?)?use[._-]?policy(\.(txt|md))?", re.I)


class Papers(Struct, frozen=True, kw_only=True):
    """`statements` are what the papers name, one for the card and one for each licence file, for
    `policies.licences.agreed` to judge; `licence` holds the licence texts, bound (policies.licences.bound), and
    `notice` the NOTICE file as they came, `use_policies` the acceptable-use policies;
    `languages` are the codes that the card names. `bases` are the models that it was made from, by the names that the
    card has for them, and `relation` what they are to it: one that it was merged from, or its parent."""

    statements: tuple[str, ...]
    languages: tuple[str, ...] = ()
    licence: str | None
    notice: str | None
    use_policies: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    relation: Literal["parent", "merged"] = "parent"


class _Card(Struct):
    license: str | list[str] | None = None
    license_name: str | None = None
    base_model: str | list[str] | None = None
    base_model_relation: str | None = None
    language: Any = None


def read_papers(folder: Folder) -> Papers:
    """Raises SourceError where a paper cannot be read: silence about the terms must come from the papers."""
    names = folder.names()
    card = _text(folder, "README.md", MAX_CARD) if "README.md" in names else ""
    fields = _front_matter(card)
    statements = list(_stated(fields))
    texts = []
    for name in names:
        if _LICENCE_FILE.fullmatch(name):
            text = _text(folder, name, MAX_LICENCE)
            texts.append(text)
            # an unknown text is passed on as a statement that nobody knows, so that it cannot be overlooked
            statements.append(identify(text) or f"the text in {name}")
    notices = [_text(folder, name, MAX_LICENCE) for name in names if _NOTICE_FILE.fullmatch(name)]
    bases = tuple(_bases(fields.base_model))
    # a model of several is a merged one, where the card does not say (https://huggingface.co/docs/hub/model-cards)
    merged = fields.base_model_relation == "merge" if fields.base_model_relation else len(bases) > 1
    return Papers(
        statements=tuple(statements),
        languages=tuple(_languages(fields.language)),
        licence=bound(texts) or None,
        notice="\n\n".join(notices) or None,
        use_policies=tuple(_text(folder, name, MAX_LICENCE) for name in names if _USE_POLICY_FILE.fullmatch(name)),
        bases=bases,
        relation="merged" if merged else "parent",
    )


def _front_matter(card: str) -> _Card:
    """What a model card says in a form for machines (https://huggingface.co/docs/hub/model-cards)."""
    block = REGEX_YAML_BLOCK.search(card)
    if block is None:
        return _Card()
    if len(block[2]) > MAX_FRONT_MATTER:
        raise SourceError("source_too_large", "the front matter of README.md is too long")
    try:
        fields = msgspec.convert(yaml.load(block[2], _Plain), _Card | None)  # noqa: S506 - _Plain is a SafeLoader
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise SourceError("source_config", f"the front matter of README.md: {str(error)[:200]}") from None
    return fields or _Card()


def _stated(fields: _Card) -> Iterator[str]:
    if fields.license is None:
        return
    licences = [fields.license] if isinstance(fields.license, str) else fields.license
    for licence in licences:
        # "other" only says that the name follows
        yield fields.license_name if licence == "other" and fields.license_name else licence


def _bases(given: str | list[str] | None) -> Iterator[str]:
    """The names of the models that it was made from, each once. Raises SourceError for what is no name."""
    names = list(dict.fromkeys([given] if isinstance(given, str) else given or ()))
    if len(names) > MAX_BASES:
        raise SourceError("source_too_large", f"the front matter of README.md names more than {MAX_BASES} base models")
    for name in names:
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or "=" in name:
            raise SourceError("source_config", f"the front matter of README.md: {name[:80]!r} is no name of a model")
        yield name


def _languages(given: Any) -> Iterator[str]:
    """The codes of the languages in order; what is none is no reason to refuse a model."""
    for one in given[:MAX_LANGUAGES] if isinstance(given, list) else [given]:
        code = "no" if one is False else one  # Norwegian, as YAML reads it
        if isinstance(code, str) and _LANGUAGE.fullmatch(code):
            yield code


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML without aliases, by which a small text describes an enormous value, and without a key given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError("a key is given twice")
        return mapping


def _text(folder: Folder, name: str, limit: int) -> str:
    try:
        return folder.read(name, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError("source_config", f"{name} is not written in UTF-8") from None

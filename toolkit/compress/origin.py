"""Where a model comes from: the source itself, an adapter in front of it, and all that papers and persons name.

A folder with an adapter is merged with its base when it is loaded. The base is the folder itself, where it holds one,
or the folder that was given for a name that the adapter or its card has for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from policies import licences
from toolkit.compress.ancestry import Ancestry, Relation, Stated, Texts, ancestors, forebear, stated
from toolkit.compress.errors import SourceError
from toolkit.compress.intake import module_taken_in, taken_in
from toolkit.compress.source import Source
from toolkit.compress.sources import architectures, huggingface
from toolkit.compress.sources.adapter import Adapter, read_adapter
from toolkit.compress.sources.folder import Folder
from toolkit.extras import needs
from toolkit.runtime.inputs import ImageInput

if TYPE_CHECKING:
    import torch

    from toolkit.compress.sources.papers import Papers

__all__ = ["Origin", "module_origin", "origin"]


class Origin(Struct, frozen=True, kw_only=True):
    """A source that was looked at and not loaded, and its lineage, the source itself first."""

    source: Source
    ancestry: Ancestry


def origin(
    source: str | os.PathLike[str], *, licence: str | None, parents: Sequence[str], memory: int | None
) -> Origin:
    """What toolkit.compress.intake.taken_in finds at a path, with its lineage.

    `licence` is what is stated of the source itself, and `parents` of its ancestors (toolkit.compress.ancestry.stated).
    Raises SourceMissing, SourceError, LicenceError, ParentError, MissingExtra.
    """
    statements = stated(parents)
    adapter = read_adapter(Path(source))
    if adapter is not None:
        return _adapted(Path(source), adapter, licence, statements, memory)
    found = taken_in(source, memory)
    papers = _papers(_folder(source))
    own = _itself(found, papers, licence)
    return Origin(source=found, ancestry=own.and_then(ancestors(_named(papers), statements)))


def module_origin(
    module: torch.nn.Module,
    example: object,
    image: ImageInput | None,
    labels: Sequence[str],
    *,
    licence: str | None,
    parents: Sequence[str],
) -> Origin:
    """A module of this process, which has no papers, and what was stated of it.

    Raises SourceError, LicenceError, ParentError, MissingExtra.
    """
    found = module_taken_in(module, example, image, labels)
    own = _itself(found, None, licence)
    return Origin(source=found, ancestry=own.and_then(ancestors((), stated(parents))))


def _adapted(
    path: Path, adapter: Adapter, licence: str | None, statements: Mapping[str, Stated], memory: int | None
) -> Origin:
    """The base of an adapter with the adapter in it, and the lineage of both."""
    papers = _papers(path)
    names = tuple(dict.fromkeys(([adapter.base] if adapter.base else []) + list(papers.bases)))
    name, folder = _base(path, names, statements)
    base = taken_in(folder, memory)
    if not isinstance(base, huggingface.Source):
        raise SourceError("source_adapter", f"the base in {folder} is none that adapters are merged into")
    texts = Texts(licence=papers.licence, notice=papers.notice, use_policies=papers.use_policies)
    agreed = licences.agreed(licence, papers.statements)
    title = huggingface.folder_name(path.resolve())
    front = Ancestry(lineage=(forebear(title, adapter.digest, agreed, "adapter", texts),), texts=(texts,))
    under = papers if folder == path else _papers(folder)
    stated_of_base = licence if name is None else statements[name].licence
    own = _itself(base, under, stated_of_base, name)
    beside: list[tuple[str, Relation]] = [(one, "parent") for one in names if one != name]
    left = {one: said for one, said in statements.items() if one != name}
    rest = ancestors(beside if name is None else [*beside, *_named(under)], left)
    return Origin(source=base.adapted(adapter, title), ancestry=front.and_then(own).and_then(rest))


def _base(path: Path, names: Sequence[str], statements: Mapping[str, Stated]) -> tuple[str | None, Path]:
    """The name and the folder of an adapter's base; no name where it lies beside the adapter."""
    if (path / "config.json").is_file():
        return None, path
    given = [(name, folder) for name in names if name in statements and (folder := statements[name].folder)]
    if len(given) != 1:
        called = ", ".join(names) or "no name"
        raise SourceError("source_adapter", f"{path} is an adapter, and its base ({called[:200]}) was not given")
    return given[0]


def _named(papers: Papers) -> list[tuple[str, Relation]]:
    return [(name, papers.relation) for name in papers.bases]


def _itself(found: Source, papers: Papers | None, licence: str | None, name: str | None = None) -> Ancestry:
    policies = () if papers is None else papers.use_policies
    texts = Texts(licence=found.licence_text, notice=found.notice, use_policies=policies)
    agreed = licences.agreed(licence, found.licences)
    return Ancestry(lineage=(forebear(name or found.name, found.digest, agreed, "parent", texts),), texts=(texts,))


def _folder(source: str | os.PathLike[str]) -> Path:
    """Where the papers of a source lie: the folder that it is, or is in; in the hub's cache the whole snapshot."""
    weights = architectures.weights_of(source) if isinstance(source, str) else None
    path = (weights or Path(source)).absolute()
    if path.is_dir():
        return path
    return next((folder for folder in path.parents if folder.parent.name == "snapshots"), path.parent)


def _papers(folder: Path) -> Papers:
    with needs("compress"):
        from toolkit.compress.sources.papers import read_papers
    return read_papers(Folder(folder))

"""How a sentence-transformers folder says that token vectors become one embedding: modules.json and its neighbours."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from msgspec import Meta, Struct

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import Folder

__all__ = ["Layout", "read_layout"]

_KINDS = ("Transformer", "Pooling", "Normalize")


class Layout(Struct, frozen=True, kw_only=True):
    """`base` is the folder of the encoder as a prefix of names, empty or with a slash at its end."""

    base: str = ""
    pooling: Literal["mean", "cls"] = "mean"
    normalise: bool = False
    max_tokens: int | None = None


class _Module(Struct):
    """An entry of modules.json, the parts of a model in their order."""

    path: str
    type: str


class _Length(Struct):
    max_seq_length: Annotated[int, Meta(ge=3)] | None = None


class _Pooling(Struct):
    """1_Pooling/config.json: one flag for each mode, or in newer files the name of the mode."""

    pooling_mode: str | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    def mode(self) -> str:
        flags = [name for name in self.__struct_fields__ if getattr(self, name) is True]
        names = [name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name in flags]
        return self.pooling_mode or "+".join(names)


def read_layout(folder: Folder) -> Layout:
    """For a plain model, which says nothing: the mean over its tokens, as sentence-transformers does then.

    Raises SourceError: source_code, source_config, source_external, source_unsupported.
    """
    paths = _paths(folder) if folder.has("modules.json") else {}
    base = paths.get("Transformer", "")
    length = f"{base}sentence_bert_config.json"
    return Layout(
        base=base,
        pooling=_pooling(folder, paths["Pooling"]) if "Pooling" in paths else "mean",
        normalise="Normalize" in paths,
        max_tokens=folder.json(length, _Length).max_seq_length if folder.has(length) else None,
    )


def _paths(folder: Folder) -> dict[str, str]:
    """Kind of part to its path, as a prefix of names."""
    paths: dict[str, str] = {}
    for module in folder.json("modules.json", list[_Module]):
        if not module.type.startswith("sentence_transformers."):
            raise SourceError("source_code", f"modules.json asks for code of its own: {module.type[:80]!r}")
        kind = module.type.rpartition(".")[2]
        if kind not in _KINDS:
            raise SourceError("source_unsupported", f"modules.json has the part {kind[:80]!r}, which is not taken in")
        path = PurePosixPath(module.path)
        if path.is_absolute() or ".." in path.parts or "\\" in module.path:
            raise SourceError("source_external", f"modules.json leads out of the folder: {module.path[:80]!r}")
        paths.setdefault(kind, "" if path == PurePosixPath() else f"{path}/")
    if list(paths) != [kind for kind in _KINDS if kind in paths]:
        raise SourceError("source_unsupported", f"modules.json has its parts in another order: {', '.join(paths)}")
    return paths


def _pooling(folder: Folder, path: str) -> Literal["mean", "cls"]:
    mode = folder.json(f"{path}config.json", _Pooling).mode()
    match mode:
        case "mean" | "cls":
            return mode
    raise SourceError("source_unsupported", f"pooling {mode[:80]!r} is not taken in; taken in are mean and cls")

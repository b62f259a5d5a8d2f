"""sealpress licence"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich_click as click
from msgspec import Struct, structs

from policies import licences
from policies.licences import Entry, Facts, LicenceError
from toolkit.cli import output, with_settings
from toolkit.sealed import described
from toolkit.settings import found_settings, read_settings
from toolkit.texts import Paper, papers_in

__all__ = ["licence"]

MAX_FILE = 400_000
_PAPER = re.compile(r"(licen[cs]e|copying|(acceptable[._-]?)?use[._-]?policy)([._-][a-z0-9._-]+)?", re.I)


class _Checked(Struct, frozen=True, kw_only=True):
    """A file, the licence or the acceptable-use policy that its text is, and the digest of its words."""

    file: str
    digest: str
    licence: str | None = None
    use_policy: str | None = None


class _Decided(Struct, frozen=True, kw_only=True):
    """A fact of what was made, and the licences that make it so."""

    fact: str
    value: Any
    by: tuple[str, ...]


@click.group()
def licence() -> None:
    """What licences say, which licence a text is, and what a bundle may be used for. No legal advice."""


@licence.command()
@click.argument("spdx", required=False)
@with_settings
def show(spdx: str | None, settings: str | None, as_json: bool) -> None:
    """List the licences that are known; of one, the facts and where its text says so.

    SPDX is an identifier, or a name that model cards use.

    Example: sealpress licence show llama3.2
    """
    if spdx is None:
        every = licences.entries()
        value = {"licences": [{"spdx": one.spdx, "name": one.name, "family": one.family} for one in every.values()]}
        output(value, as_json, "\n".join(f"{one.spdx:50}  {one.family:16}  {one.name}" for one in every.values()))
        return
    found = licences.known(licences.spdx(spdx))
    output(found, as_json, "\n".join(_described(found)))


@licence.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@with_settings
def check(path: Path, settings: str | None, as_json: bool) -> None:
    """Say which licence, or which acceptable-use policy, the text at PATH is: a file, or those in a folder.

    A text with one word more or less is unknown, and the exit status is 1, until a person has looked at it.

    Example: sealpress licence check ./my-model/LICENSE
    """
    files = [one for one in sorted(path.iterdir()) if _PAPER.fullmatch(one.name)] if path.is_dir() else [path]
    if not files:
        raise LicenceError("licence_missing", f"{path} holds no licence and no acceptable-use policy")
    found = [_checked(file) for file in files]
    for one in found:
        if one.licence is None and one.use_policy is None:
            raise LicenceError("licence_unknown", f"the text in {one.file} (words {one.digest}) is unknown or altered")
    lines = [f"{one.file}: {one.licence or one.use_policy}\n  words  {one.digest}" for one in found]
    output({"files": found}, as_json, "\n".join(lines))


@licence.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@with_settings
def explain(bundle: Path, settings: str | None, as_json: bool) -> None:
    """Say what a bundle may be used for by the licences of all that it was made from, and which of them decides; and
    which texts it carries.

    Example: sealpress licence explain model.bundle --json
    """
    trust = read_settings(found_settings(settings)).trust
    read = described(bundle, trust.of("models", time.time_ns()))[0]
    manifest, papers = read.manifest, tuple(papers_in(read.papers))
    parts = {one.licence: licences.facts(one.licence) for one in manifest.lineage}
    parts = parts or {manifest.licence: licences.facts(manifest.licence)}
    found = tuple(_decided(licences.facts(manifest.licence), parts))
    lines = [f"{manifest.name} {manifest.version}: {manifest.licence}"]
    lines += [
        f"  {one.relation:12} {one.name}  {one.licence}  {one.digest[:16] or 'not seen'}" for one in manifest.lineage
    ]
    lines += [f"  {one.fact:14} {_plain(one.value):30}  by {', '.join(one.by)}" for one in found]
    lines += [f"  {one.file:12} {one.text or _untold(one)}  words {one.words[:16]}" for one in papers]
    value = {"licence": manifest.licence, "lineage": manifest.lineage, "facts": found, "texts": papers}
    output(value, as_json, "\n".join(lines))


def _untold(paper: Paper) -> str:
    return "notices" if paper.file == "NOTICE" else "unknown, or altered"


def _checked(path: Path) -> _Checked:
    with path.open("rb") as file:
        text = file.read(MAX_FILE).decode("utf-8-sig", "replace")
    return _Checked(
        file=str(path),
        digest=licences.digest(text),
        licence=licences.identify(text),
        use_policy=licences.identify_use_policy(text),
    )


def _described(found: Entry) -> Iterator[str]:
    yield f"{found.spdx}: {found.name} ({found.family})"
    yield f"  {found.url}, read {found.read}"
    if found.use_policy is not None:
        policy = licences.use_policies()[found.use_policy]
        yield f"  with {policy.name}, {policy.url}{'' if policy.wordings else ', whose text is not known here'}"
    for name, source in structs.asdict(found.facts).items():
        if source is None:
            unsaid = getattr(Facts(), name)
            yield f"  {name:14} {'not said' if unsaid is None else 'none named'}"
        else:
            words = f': "{source.words}"' if source.words else ""
            yield f"  {name:14} {_plain(source.value)}  ({source.section}{words})"


def _decided(whole: Facts, parts: dict[str, Facts]) -> Iterator[_Decided]:
    """Each fact that is known, with the licences that say so by themselves; all, where it takes them together."""
    for name, value in structs.asdict(whole).items():
        if value is None or value == ():
            continue
        by = [one for one, facts in parts.items() if _says(getattr(facts, name), value)]
        yield _Decided(fact=name, value=value, by=tuple(by or parts))


def _says(one: object, whole: object) -> bool:
    if isinstance(whole, tuple) and isinstance(one, tuple):
        return bool(set(one) & set(whole))
    return one == whole


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

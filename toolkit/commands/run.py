"""sealpress run"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import rich_click as click

from toolkit.box import Context
from toolkit.cli import output, with_settings
from toolkit.commands.context import with_context
from toolkit.model import load
from toolkit.runtime.entities import Entity
from toolkit.runtime.readers import checked_texts
from toolkit.settings import found_settings

__all__ = ["run"]


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--text", "texts", multiple=True, required=True, help="A text; may be given several times.")
@with_context
@with_settings
def run(
    bundle: str,
    texts: tuple[str, ...],
    context: Context,
    settings: str | None,
    as_json: bool,
) -> None:
    """Run a model on texts, through the gate and on record: embeddings, or the entities that it finds.

    Below the answer stands what was masked first, and what has to go with it.

    Example: sealpress run model.bundle --text "where is the ward?" --purpose search
    """
    model = load(bundle, found_settings(settings))
    answer = model.ask({"texts": checked_texts(texts)}, context)
    (name, given), *_ = answer.outputs.items()
    if name == "entities":
        value: dict[str, Any] = {"entities": list(given)}
        # places are those in the text that the model read, which is not at hand where something was masked in it
        known = not any(one.kind in ("redact", "pseudonymise") for one in answer.obligations)
        lines = [_entities(text if known else "", found) for text, found in zip(texts, given, strict=True)]
    else:
        value = {"embeddings": given.tolist()}
        lines = [f"{len(given)} embeddings of {given.shape[1]} numbers:"]
        lines += [f"  [{', '.join(f'{x:+.4f}' for x in row[:4])}, ...]" for row in given]
    lines += [f"{_TOLD[one.kind]}: {one.text}" for one in answer.obligations if one.text]
    output({**value, "obligations": answer.obligations}, as_json, "\n".join(lines))


def _entities(text: str, found: Sequence[Entity]) -> str:
    """A line for each entity of a text."""
    lines = [
        f"  {one.start:5}-{one.end:<5} {one.label:16} {one.score:.2f}  {text[one.start : one.end]}" for one in found
    ]
    return "\n".join([f"{len(found)} entities:", *lines])


_TOLD: Mapping[str, str] = {
    "redact": "Masked before the model ran",
    "pseudonymise": "Replaced by pseudonyms before the model ran",
    "attribution": "Attribution",
    "ai_notice": "Notice",
}

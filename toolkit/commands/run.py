"""sealpress run"""

from __future__ import annotations

from collections.abc import Mapping

import rich_click as click

from toolkit.box import Context
from toolkit.cli import output, with_settings
from toolkit.model import load
from toolkit.settings import found_settings

__all__ = ["run"]


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--text", "texts", multiple=True, required=True, help="A text to embed; may be given several times.")
@click.option("--purpose", help="What for: one of the purposes that the settings declare.")
@click.option("--basis", help="The legal basis, needed when the text holds personal data.")
@click.option("--subject", help="Whose data it is, under a name of your own choice.")
@click.option("--consent", help="The receipt of a consent.  [default: the newest of the subject for the purpose]")
@click.option("--region", help="Where the data belongs, as a country code.")
@click.option("--override", help="The name of an override that two persons opened: sealpress override.")
@click.option("--data", multiple=True, help="A category of personal data in the text, e.g. health; repeatable.")
@with_settings
def run(
    bundle: str,
    texts: tuple[str, ...],
    purpose: str | None,
    basis: str | None,
    subject: str | None,
    consent: str | None,
    region: str | None,
    override: str | None,
    data: tuple[str, ...],
    settings: str | None,
    as_json: bool,
) -> None:
    """Run a model on texts, through the gate and on record.

    Below the answer stands what was masked first, and what has to go with it.

    Example: sealpress run model.bundle --text "where is the ward?" --purpose search
    """
    model = load(bundle, found_settings(settings))
    context = Context(
        purpose=purpose,
        basis=basis,
        consent=consent,
        subject=subject,
        region=region,
        override=override,
        data=frozenset(data),
    )
    answer = model.ask(texts, context)
    embeddings = answer.embeddings
    start = "\n".join(f"  [{', '.join(f'{x:+.4f}' for x in row[:4])}, ...]" for row in embeddings)
    lines = [f"{len(embeddings)} embeddings of {embeddings.shape[1]} numbers:", start]
    lines += [f"{_TOLD[one.kind]}: {one.text}" for one in answer.obligations if one.text]
    value = {"embeddings": embeddings.tolist(), "obligations": answer.obligations}
    output(value, as_json, "\n".join(lines))


_TOLD: Mapping[str, str] = {
    "redact": "Masked before the model ran",
    "pseudonymise": "Replaced by pseudonyms before the model ran",
    "attribution": "Attribution",
    "ai_notice": "Notice",
}

"""sealpress chat"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import rich_click as click

from toolkit.box import Context
from toolkit.cli import output, with_settings
from toolkit.generating import Stream
from toolkit.model import Model, load
from toolkit.runtime.sampling import GenerationError, Sampling
from toolkit.settings import found_settings

__all__ = ["chat"]

Turns = list[dict[str, str]]


@click.command()
@click.argument("bundle", type=click.Path())
@click.option(
    "--text", "texts", multiple=True, help="A turn of yours; several are asked in order.  [default: the terminal]"
)
@click.option("--system", help="A system text before the first turn.")
@click.option("--max-tokens", type=int, default=256, show_default=True, help="The most tokens of an answer.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: the most probable token each time.")
@click.option(
    "--top-p", type=float, default=1.0, show_default=True, help="The share of probability that is drawn from."
)
@click.option("--seed", type=int, help="The same seed gives the same text.")
@click.option("--stop", multiple=True, help="A text before which an answer ends; repeatable.")
@click.option(
    "--schema", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON schema that answers keep to."
)
@click.option("--regex", help="A regular expression for the whole of each answer.")
@click.option("--choice", multiple=True, help="A text that an answer may be; repeatable.")
@click.option("--lookup", is_flag=True, help="Try what stood before: faster where an answer repeats its prompt.")
@click.option("--purpose", help="What for: one of the purposes that the settings declare.")
@click.option("--basis", help="The legal basis, needed when a turn holds personal data.")
@click.option("--subject", help="Whose data it is, under a name of your own choice.")
@with_settings
def chat(
    bundle: str,
    texts: tuple[str, ...],
    system: str | None,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    stop: tuple[str, ...],
    schema: Path | None,
    regex: str | None,
    choice: tuple[str, ...],
    lookup: bool,
    purpose: str | None,
    basis: str | None,
    subject: str | None,
    settings: str | None,
    as_json: bool,
) -> None:
    """Talk with a model that generates, through the gate and on record: each turn is a call with all turns before it.

    An empty line ends the talk; Ctrl-C ends an answer, which is recorded as stopped.

    Example: sealpress chat model.bundle --text "Where is the ward?" --purpose search
    """
    sampling = Sampling.checked(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
        schema=None if schema is None else _schema(schema),
        regex=regex,
        choice=choice,
        lookup=lookup,
    )
    model = load(bundle, found_settings(settings), lookup=lookup or None)
    context = Context(purpose=purpose, basis=basis, subject=subject)
    turns: Turns = [{"role": "system", "content": system}] if system is not None else []
    waiting = list(texts)
    interactive = not texts
    said: list[Stream] = []
    while text := _asked() if interactive else (waiting.pop(0) if waiting else ""):
        turns.append({"role": "user", "content": text})
        stream = _answered(model, turns, sampling, context, aloud=not as_json)
        said.append(stream)
        turns.append({"role": "assistant", "content": stream.text})
    answers = [
        {"text": one.text, "finish": one.finish, "usage": one.usage, "seed": one.seed, "mark": one.mark} for one in said
    ]
    told = dict.fromkeys(one.text for stream in said for one in stream.obligations if one.text)
    output({"answers": answers, "obligations": said[-1].obligations if said else ()}, as_json, "\n".join(told))


def _answered(model: Model, turns: Turns, sampling: Sampling, context: Context, *, aloud: bool) -> Stream:
    """The stream of an answer, read to its end or to where somebody stopped it."""
    with model.stream(turns, sampling, context) as stream:
        try:
            for chunk in stream:
                if aloud:
                    click.echo(chunk.text, nl=False)
        except KeyboardInterrupt:
            stream.close()
    if aloud:
        click.echo()
    return stream


def _schema(path: Path) -> object:
    """What a file holds; whether it is a schema that is taken is seen after. Raises GenerationError."""
    try:
        return json.loads(path.read_bytes()[: 1 << 20])
    except (ValueError, RecursionError):
        raise GenerationError("generation_constraint", "the file of the schema is no JSON") from None


def _asked() -> str:
    """A line from the terminal, empty at its end."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    return sys.stdin.readline().strip()

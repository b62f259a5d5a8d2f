"""What a chat template comes to: found by rendering chats whose texts are known, and held against further ones.

A template is a program in a folder that somebody brought. It is run once, when the model is taken in, and in a process
of its own; what travels in the bundle are the pieces that it puts around the turns. A template that does not lay out
every turn of a kind alike cannot be told in pieces, and is refused instead of being told wrongly.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from toolkit.compress.errors import SourceError
from toolkit.runtime.inputs import Chat

__all__ = ["chat_of"]

MAX_TEMPLATE = 100_000
SECONDS = 20
_SYSTEM = "Zq0system"
_TURNS = ("Zq1user", "Zq2assistant", "Zq3user", "Zq4assistant", "Zq5user")
# what templates may treat in some way of their own
_ODD = (
    "  spaces around \n",
    "{{ 1 + 1 }} {% raw %}",
    "<|im_end|>\n<s> [INST] 'quoted' \"twice\"",
    "\n\na\tb\n",
    "zwölf ü 三",
)

Turn = dict[str, str]


def chat_of(template: str, tokens: Mapping[str, str]) -> Chat:
    """The pieces of a template; `tokens` are the texts of bos_token and its like that it may use.

    Raises SourceError "source_template" for one that is no template, does not end, or cannot be told in pieces.
    """
    if len(template) > MAX_TEMPLATE:
        raise SourceError("source_template", f"the chat template has more than {MAX_TEMPLATE} characters")
    system = [{"role": "system", "content": _SYSTEM}]
    plain, asked, told = _rendered(
        template, tokens, [(_turns(_TURNS), False), (_turns(_TURNS), True), ([*system, *_turns(_TURNS)], True)]
    )
    if plain is None or asked is None:
        raise SourceError("source_template", "the chat template does not take turns of a user and an assistant")
    begin, first, second, third, fourth, reply = _between(asked, _TURNS)
    if first != third or second != fourth:
        raise SourceError("source_template", "the chat template lays out turns of one kind in several ways")
    before, after = None, None
    if told is not None and _SYSTEM in told:
        before, after, *_ = _between(told, (_SYSTEM, *_TURNS))
    pieces = Chat(
        begin=begin, system=before, system_user=after, user_assistant=first, assistant_user=second, reply=reply
    )
    chats = [_turns(texts) for texts in (("a",), ("b", "c", "d"), _ODD)]
    if before is not None:
        chats += [[*system, *turns] for turns in chats] + [[{"role": "system", "content": _ODD[0]}, *_turns(("e",))]]
    expected = _rendered(template, tokens, [(turns, True) for turns in chats])
    for trims in (False, True):
        found = msgspec.structs.replace(pieces, trims=trims)
        if [_laid(found, turns) for turns in chats] == expected:
            return found
    raise SourceError("source_template", "the chat template does more with its turns than to put pieces around them")


def _laid(chat: Chat, turns: Sequence[Turn]) -> str:
    from toolkit.runtime.chatting import laid_out

    return "".join(piece.text for piece in laid_out(chat, turns))


def _turns(texts: Sequence[str]) -> list[Turn]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


def _between(rendered: str, texts: Sequence[str]) -> list[str]:
    """What stands before, between and after some texts, each of which stands there once and in this order."""
    parts = []
    for text in texts:
        before, found, rendered = rendered.partition(text)
        if not found or text in rendered:
            raise SourceError("source_template", "the chat template leaves turns out, or repeats them")
        parts.append(before)
    return [*parts, rendered]


def _rendered(template: str, tokens: Mapping[str, str], chats: Sequence[tuple[list[Turn], bool]]) -> list[str | None]:
    asked: dict[str, Any] = {
        "template": template,
        "tokens": dict(tokens),
        "chats": [{"messages": turns, "add_generation_prompt": reply} for turns, reply in chats],
    }
    command = [sys.executable, "-I", str(Path(__file__).with_name("chat_rendering.py"))]
    try:
        done = subprocess.run(  # noqa: S603 - our own file, by this Python
            command, input=msgspec.json.encode(asked), capture_output=True, check=True, timeout=SECONDS
        )
        answer = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except (subprocess.SubprocessError, msgspec.MsgspecError):
        raise SourceError("source_template", "the chat template does not come to an end, or takes too much") from None
    if "error" in answer:
        raise SourceError("source_template", f"the chat template is none: {answer['error']}")
    rendered: list[str | None] = answer["rendered"]
    return rendered

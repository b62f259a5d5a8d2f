"""Turns of a chat to one prompt: the model's own pieces around what people said, and no way from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from policies.payload import InputError
from toolkit.runtime.inputs import Chat

__all__ = ["MAX_TURNS", "Piece", "laid_out", "turns_of"]

MAX_TURNS = 2048


class Piece(NamedTuple):
    """`own`: it is the model's, and special tokens in it are such; what a person wrote is text, whatever it says."""

    text: str
    own: bool


def turns_of(value: object) -> list[dict[str, str]]:
    """Turns {"role": ..., "content": ...}: perhaps a system text, then user and assistant in turn, a user last.

    Raises InputError: input_type, input_empty, input_too_large, input_turns.
    """
    if not isinstance(value, list) or not all(
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and all(isinstance(one, str) for one in turn.values())
        for turn in value
    ):
        raise InputError("input_type", "a chat is a list of turns, each with a text as `role` and as `content`")
    if not value:
        raise InputError("input_empty", "the chat has no turn")
    if len(value) > MAX_TURNS:
        raise InputError("input_too_large", f"the chat has more than {MAX_TURNS} turns")
    roles = [turn["role"] for turn in value]
    said = roles[1:] if roles[0] == "system" else roles
    if len(said) % 2 == 0 or any(role != ("user", "assistant")[number % 2] for number, role in enumerate(said)):
        raise InputError("input_turns", "user and assistant speak in turn, a user first and last")
    return value


def laid_out(chat: Chat, turns: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """The prompt of turns that `turns_of` checked, up to where the reply begins.

    Raises InputError "input_turns" for a system text that the model does not take.
    """
    texts = [turn["content"].strip() if chat.trims else turn["content"] for turn in turns]
    pieces: list[Piece] = []
    if turns[0]["role"] == "system":
        if chat.system is None or chat.system_user is None:
            raise InputError("input_turns", "the model takes no system text")
        pieces += [Piece(chat.system, own=True), Piece(texts.pop(0), own=False), Piece(chat.system_user, own=True)]
    else:
        pieces.append(Piece(chat.begin, own=True))
    joints = (chat.user_assistant, chat.assistant_user)
    for number, text in enumerate(texts):
        last = number == len(texts) - 1
        pieces += [Piece(text, own=False), Piece(chat.reply if last else joints[number % 2], own=True)]
    return pieces

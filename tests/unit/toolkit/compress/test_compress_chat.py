"""Chat templates are told in pieces, or refused; none of them gets out, goes on without end, or eats the memory."""

from __future__ import annotations

import pytest

from tests.decoders import CHATML
from toolkit.compress.errors import SourceError
from toolkit.compress.sources.chat import chat_of
from toolkit.runtime.inputs import Chat

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def test_pieces_of_a_template() -> None:
    assert chat_of(CHATML, {}) == Chat(
        begin="<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n",
        system="<|im_start|>system\n",
        system_user="<|im_end|>\n<|im_start|>user\n",
        user_assistant="<|im_end|>\n<|im_start|>assistant\n",
        assistant_user="<|im_end|>\n<|im_start|>user\n",
        reply="<|im_end|>\n<|im_start|>assistant\n",
    )


def test_one_that_takes_no_system_text_and_trims() -> None:
    found = chat_of(GEMMA, {"bos_token": "<bos>"})
    assert (found.system, found.system_user, found.trims) == (None, None, True)
    assert found.begin == "<bos><start_of_turn>user\n"


REFUSED = {
    "syntax": "{% for %}",
    "nothing": "hello",
    "only the last": "{{ messages[-1]['content'] }}",
    "twice": CHATML + "{{ messages[0]['content'] }}",
    "turned": "{% for message in messages | reverse %}{{ message['content'] }}{% endfor %}",
    "changed": "{% for message in messages %}<{{ message['content'] | upper }}>{% endfor %}",
    "numbered": "{% for message in messages %}{{ loop.index }}: {{ message['content'] }}\n{% endfor %}",
    "escaped": "{% for message in messages %}<{{ message['content'] | e }}>{% endfor %}",
    "outside": "{{ ''.__class__.__mro__[1].__subclasses__() }}" + CHATML,
    "memory": "{{ 'a' * 10 ** 11 }}" + CHATML,
    "long": "{#" + "a" * 200_000 + "#}" + CHATML,
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_cannot_be_told_in_pieces_is_refused(what: str) -> None:
    with pytest.raises(SourceError) as refused:
        chat_of(REFUSED[what], {})
    assert refused.value.code == "source_template"


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.compress.sources.chat.SECONDS", 1)
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abcd")
    with pytest.raises(SourceError, match="come to an end"):
        chat_of(f"{loops}{'{% endfor %}' * 4}{CHATML}", {})

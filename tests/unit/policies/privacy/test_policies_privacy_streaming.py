"""What does not fit into the window of a stream: it is masked as it comes, and what follows is handed out again."""

from __future__ import annotations

import time

import pytest

from policies.errors import Refused
from policies.facts import Obligation
from policies.outgoing import Outgoing, OutputRefused
from policies.privacy import MASK, redact, scan
from policies.privacy.streaming import DELAY, Streamed

JWT = "eyJ" + "aB3_" * 60 + ".eyJ" + "cD4-" * 400 + "." + "eF5" * 30
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 2] * 30)
    + "\n-----END PRIVATE KEY-----"
)


def masked(text: str, size: int = 3) -> tuple[str, Streamed]:
    streamed = Streamed()
    out = [streamed.added(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*out, streamed.rest()]), streamed


@pytest.mark.parametrize("secret", [JWT, PEM], ids=["token", "key"])
def test_a_secret_longer_than_the_window_is_masked_as_it_comes(secret: str) -> None:
    text = f"Here it is: {secret} , and that was it."
    out, streamed = masked(text)
    assert out == f"Here it is: {MASK} , and that was it." == redact(text, scan(text))
    assert streamed.found == {"credential": 1}


def test_what_began_like_one_and_was_none_is_gone_and_the_rest_is_there() -> None:
    words = "many words without any sign " * 20
    out, _ = masked(f"Look: -----BEGIN PRIVATE KEY-----\n{words}. And so on, to the end.")
    assert out.startswith(f"Look: {MASK}")
    assert out.endswith(". And so on, to the end.")
    assert "many words" not in out


@pytest.mark.parametrize("hidden", ["\u200b", "\u2060", "\ufe0f"])
def test_a_number_with_thousands_of_characters_that_no_one_sees_in_it_is_not_handed_out(hidden: str) -> None:
    out, streamed = masked(f"Call +49 30 12{hidden * 3_000}34567 now", 50)
    assert not any(digit in out for digit in "3012")
    assert out.endswith("now")
    assert streamed.found


def test_nothing_is_held_back_for_longer_than_the_bound() -> None:
    for text in (
        "1" * 5_000,
        "a" * 5_000,
        "\u200b" * 5_000,
        "1\u200b" * 3_000,
        "password=" + "x" * 2_000,
        "北" * 3_000,
    ):
        streamed = Streamed()
        for at in range(0, len(text), 7):
            streamed.added(text[at : at + 7])
            assert len(streamed._waiting) + len(streamed._kept) - streamed._done <= DELAY


def test_chinese_goes_out_at_its_commas() -> None:
    streamed = Streamed()
    assert streamed.added("病房在三楼\uff0c" * 8) == "病房在三楼\uff0c" * 7


def test_time_grows_with_the_length() -> None:
    def taken(text: str) -> float:
        began = time.thread_time()
        masked(text, 4)
        return time.thread_time() - began

    for one in ("4111 1111 1111 1111 ", "a@b.co ", "eyJ", "eyJaaaaaaaa.", "\u200b1", "-----BEGIN PRIVATE KEY-----"):
        short, long = one * (1_000 // len(one)), one * (4_000 // len(one))
        assert taken(long) < 12 * taken(short) + 0.2


def kinds(*names: str) -> list[Obligation]:
    return [Obligation(kind=name) for name in names]  # type: ignore[arg-type]  # checked where a rule is read


def test_the_strictest_obligation_counts() -> None:
    assert Outgoing(kinds("ai_notice")).passed("a@b.co", last=True) == "a@b.co"
    noting, masking = Outgoing(kinds("note_output")), Outgoing(kinds("note_output", "redact_output"))
    assert (noting.passed("a@b.co", last=True), noting.found) == ("a@b.co", {"email": 1})
    assert (masking.passed("a@b.co", last=True), masking.found) == (MASK, {"email": 1})
    stopping = Outgoing(kinds("redact_output", "stop_output", "note_output"))
    with pytest.raises(OutputRefused) as refused:
        stopping.passed("a@b.co", last=True)
    assert isinstance(refused.value, Refused)
    assert str(refused.value) == "the model wrote: email"


def test_what_was_handed_out_before_a_stop_is_counted() -> None:
    noting, masking = Outgoing(kinds("note_output")), Outgoing(kinds("note_output", "redact_output"))
    for outgoing in (noting, masking):
        outgoing.passed("a@b.co", last=False)
        outgoing.end()
    assert (noting.found, masking.found) == ({"email": 1}, {})

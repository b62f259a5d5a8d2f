"""The routes that are as OpenAI has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from serve.openapi import answers_openai, schemas
from serve.openapi.asking import ASKS, DIGEST, GIVES, MODEL, in_json
from serve.openapi.operation import ASKED, GENERATING, KEYED, NAMED, OPENAI, Content, Operation

__all__ = ["OF_OPENAI"]

_GENERATOR = "SmolLM2-135M-Instruct-w8-t8"
_CALL = "b2ffe27b10ad1b0a8f98b80bed6799bb"
_MADE: Final[dict[str, Any]] = {
    "created": 1795841837,
    "model": _GENERATOR,
    "system_fingerprint": "1e00f9fd1dc4ea6a",
    "usage": {
        "prompt_tokens": 34,
        "completion_tokens": 6,
        "total_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "seed": 4840653167349648,
    "mark": '{"format":1,"source":"generated",...}',
}
_CARD: Final[dict[str, Any]] = {
    "id": MODEL,
    "object": "model",
    "created": 1795841837,
    "owned_by": "sealpress",
    "version": "1",
    "digest": DIGEST,
    "task": "feature-extraction",
    "licence": "Apache-2.0",
    "state": "ready",
    "plan": {
        "format": 1,
        "lanes": 2,
        "threads": 1,
        "batch": 1,
        "pace": 1.2e-05,
        "rates": {"2x1x1": 648.1, "1x2x1": 425.3},
        "alike": False,
        "rows": 1,
        "least": 1,
        "lookup": None,
    },
}


def _generating(
    id_: str, summary: str, taken: Any, asked: Any, given: Any, whole: dict[str, Any], piece: dict[str, Any]
) -> Operation:
    """An answer that may be a stream, with the examples of what is asked, of a whole answer and of the first piece."""
    choice = {"index": 0, **piece, "logprobs": None, "finish_reason": None}
    event = {**{name: whole[name] for name in ("id", "object", "created", "model")}, "choices": [choice]}
    return Operation(
        id=id_,
        tag="OpenAI",
        summary=summary,
        text="As OpenAI has it, so that its clients work unchanged. With `stream` the answer comes in events "
        "while it is made: the first has the seed and what the answer has to say, the last the receipt, and behind it "
        "stands `[DONE]`. What goes wrong before the first token is told as on any route; what goes wrong later is an "
        "event with the problem, and then nothing more.",
        takes=ASKS,
        bodies=in_json(taken, asked),
        says="The answer, or its events.",
        answers={
            **in_json(given, whole),
            "text/event-stream": Content(kind=str, example=f"data: {json.dumps(event)}\n\n"),
        },
        gives=(*GIVES, "X-Accel-Buffering"),
        codes={**KEYED, **ASKED, **GENERATING},
    )


OF_OPENAI: Mapping[str, Operation] = {
    "POST /v1/embeddings": Operation(
        id="embeddings",
        tag="OpenAI",
        summary="Embeddings of texts.",
        text="As OpenAI has it, so that its clients work unchanged.",
        takes=ASKS,
        bodies=in_json(
            schemas.EmbeddingsRequest,
            {"model": MODEL, "input": ["Where is the ward?"], "metadata": {"purpose": "search"}},
        ),
        says="An embedding for each text.",
        answers=in_json(
            answers_openai.Embeddings,
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
                "model": MODEL,
                "usage": {"prompt_tokens": 7, "total_tokens": 7},
            },
        ),
        gives=GIVES,
        codes={**KEYED, **ASKED, **OPENAI},
    ),
    "POST /v1/chat/completions": _generating(
        "chat",
        "An answer to the turns of a chat.",
        schemas.ChatRequest,
        {
            "model": _GENERATOR,
            "messages": [{"role": "user", "content": "Where is the ward?"}],
            "max_tokens": 40,
            "metadata": {"purpose": "search"},
        },
        answers_openai.ChatCompletion,
        {
            "id": f"chatcmpl-{_CALL}",
            "object": "chat.completion",
            **_MADE,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "On the third floor."},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
        },
        {"delta": {"role": "assistant", "content": "On"}},
    ),
    "POST /v1/completions": _generating(
        "completion",
        "What comes after a text.",
        schemas.CompletionRequest,
        {"model": _GENERATOR, "prompt": "The ward is", "max_tokens": 40, "metadata": {"purpose": "search"}},
        answers_openai.Completion,
        {
            "id": f"cmpl-{_CALL}",
            "object": "text_completion",
            **_MADE,
            "choices": [{"index": 0, "text": " on the third floor.", "logprobs": None, "finish_reason": "stop"}],
        },
        {"text": " on"},
    ),
    "GET /v1/models": Operation(
        id="models",
        tag="OpenAI",
        summary="The models that are served.",
        says="Those that the caller may ask.",
        answers=in_json(answers_openai.Models, {"object": "list", "data": [_CARD]}),
        codes=KEYED,
    ),
    "GET /v1/models/{name}": Operation(
        id="model",
        tag="OpenAI",
        summary="One of the models.",
        says="The model.",
        answers=in_json(answers_openai.OpenAIModel, _CARD),
        codes={**KEYED, **NAMED},
    ),
}

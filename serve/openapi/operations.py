"""Every route of a box, by method and path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, structs

from serve.openapi import answers, schemas
from serve.openapi.operation import (
    ASKED,
    CHANGING,
    GENERATING,
    KEYED,
    NAMED,
    OIP,
    OPENAI,
    READ,
    RECEIPTS,
    TENSORS,
    Content,
    Operation,
    Query,
)
from serve.receipts import MAX_RECORDS

__all__ = ["BINARY", "CONTEXT_HEADERS", "JSON", "OPERATIONS"]

JSON = "application/json"
BINARY = "application/octet-stream"
CONTEXT_HEADERS = tuple(f"X-{name.replace('_', '-').title()}" for name in schemas.CONTEXT)

_ASKS = (*CONTEXT_HEADERS, "X-Timeout-Ms", "Content-Encoding")
_GIVES = (
    "X-Decision-Id",
    "X-Request-Id",
    "X-Receipt",
    "X-Model-Digest",
    "X-Attribution",
    "X-AI-Notice",
    "X-Detected",
    "X-Redacted",
    "X-Pseudonymised",
)
_DIGEST = "1e00f9fd1dc4ea6ac945a1447c42929eeee89bba644fa70b82290b589ec9cf88"
_MODEL = "all-MiniLM-L6-v2-int8"
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
    "id": _MODEL,
    "object": "model",
    "created": 1795841837,
    "owned_by": "sealpress",
    "version": "1",
    "digest": _DIGEST,
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
    },
}
_RECEIPT = {
    "format": 1,
    "records": [
        {
            "record": "shard-000/17",
            "leaf": "qtRXk9HT+oYwXykWUoSQ4vALlsxB+N+TY0mV4rBCKuo=",
            "path": ["WlCiP4LT68SJ+cVrMxcPmhADJaKMhaLye0EVvLanHuU="],
        }
    ],
    "statement": "sealpress.journal/e56712802200295bbdcb3d265c24d754/shard-000\n18\n...",
    "certificate": "sealpress.journal/e56712802200295bbdcb3d265c24d754/certificate\n...",
}
_METRICS = 'sealpress_requests_total{route="/v1/embeddings",status="200"} 17.0\n'


def _json(kind: Any, example: Any) -> dict[str, Content]:
    return {JSON: Content(kind=kind, example=example)}


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
        takes=_ASKS,
        bodies=_json(taken, asked),
        says="The answer, or its events.",
        answers={
            **_json(given, whole),
            "text/event-stream": Content(kind=str, example=f"data: {json.dumps(event)}\n\n"),
        },
        gives=(*_GIVES, "X-Accel-Buffering"),
        codes={**KEYED, **ASKED, **GENERATING},
    )


def _probe(id_: str, summary: str, kind: Any, example: Any, unready: Any = None, tag: Any = "Health") -> Operation:
    return Operation(
        id=id_,
        tag=tag,
        summary=summary,
        keyed=False,
        says="Yes.",
        answers=_json(kind, example),
        unready=None if unready is None else Content(kind=kind, example=unready),
    )


_HEALTH: Mapping[str, Operation] = {
    "GET /livez": _probe("livez", "Whether the process answers.", answers.Alive, {"alive": True}),
    "GET /startupz": _probe("startupz", "Whether models were loaded.", answers.Started, {"started": True}),
    "GET /readyz": _probe(
        "readyz",
        "Whether calls can be answered, and what is missing.",
        answers.Readiness,
        {"ready": True, "missing": {}, "warnings": {"signing_keys": "for 3 days"}},
        {"ready": False, "missing": {"journal": "journal_write"}, "warnings": {}},
    ),
    "GET /metrics": Operation(
        id="metrics",
        tag="Health",
        summary="Metrics for Prometheus.",
        text="Of all processes that serve, whichever is asked. No label holds anything that a client wrote.",
        keyed=False,
        says="The text format of Prometheus.",
        answers={"text/plain": Content(kind=str, example=_METRICS)},
    ),
}
_OPENAI: Mapping[str, Operation] = {
    "POST /v1/embeddings": Operation(
        id="embeddings",
        tag="OpenAI",
        summary="Embeddings of texts.",
        text="As OpenAI has it, so that its clients work unchanged.",
        takes=_ASKS,
        bodies=_json(
            schemas.EmbeddingsRequest,
            {"model": _MODEL, "input": ["Where is the ward?"], "metadata": {"purpose": "search"}},
        ),
        says="An embedding for each text.",
        answers=_json(
            answers.Embeddings,
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456, 0.0789]}],
                "model": _MODEL,
                "usage": {"prompt_tokens": 7, "total_tokens": 7},
            },
        ),
        gives=_GIVES,
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
        answers.ChatCompletion,
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
        answers.Completion,
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
        answers=_json(answers.Models, {"object": "list", "data": [_CARD]}),
        codes=KEYED,
    ),
    "GET /v1/models/{name}": Operation(
        id="model",
        tag="OpenAI",
        summary="One of the models.",
        says="The model.",
        answers=_json(answers.OpenAIModel, _CARD),
        codes={**KEYED, **NAMED},
    ),
}
_PREDICT: Mapping[str, Operation] = {
    "POST /v1/models/{name}/predict": Operation(
        id="predict",
        tag="Predict",
        summary="Ask a model of any kind.",
        text="A model of texts or images takes items and gives something for each; a model of tensors takes and gives "
        "nested lists by name.",
        takes=_ASKS,
        bodies=_json(
            schemas.PredictRequest,
            {"inputs": ["The fever is back."], "parameters": {"purpose": "classification", "top_k": 2}},
        ),
        says="What the model gave.",
        answers=_json(
            answers.Prediction,
            {
                "model": "triage-int8",
                "version": "1",
                "digest": _DIGEST,
                "outputs": [[{"label": "urgent", "score": 0.91}, {"label": "unclear", "score": 0.06}]],
                "usage": {"texts": 1, "tokens": 7},
            },
        ),
        gives=_GIVES,
        codes={**KEYED, **ASKED, **NAMED, **TENSORS},
    )
}

_INFER = Operation(
    id="infer",
    tag="Open Inference Protocol",
    summary="Ask a model of any kind for tensors.",
    text="Texts and images are elements of BYTES. With Inference-Header-Content-Length the JSON is followed by the "
    "bytes of those inputs that have a `binary_data_size`; the answer is of the same form where bytes were asked for.",
    takes=(*_ASKS, "Inference-Header-Content-Length", "Accept-Encoding"),
    bodies={
        **_json(
            schemas.InferRequest,
            {
                "parameters": {"purpose": "search"},
                "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Where is the ward?"]}],
            },
        ),
        BINARY: Content(),
    },
    says="The outputs.",
    answers={
        **_json(
            answers.InferAnswer,
            {
                "model_name": _MODEL,
                "model_version": "1",
                "outputs": [
                    {"name": "embedding", "datatype": "FP32", "shape": [1, 3], "data": [0.0123, -0.0456, 0.0789]}
                ],
            },
        ),
        BINARY: Content(),
    },
    gives=(*_GIVES, "Inference-Header-Content-Length", "Content-Encoding"),
    codes={**KEYED, **ASKED, **NAMED, **OIP},
)
_METADATA = Operation(
    id="model_metadata",
    tag="Open Inference Protocol",
    summary="What a model takes and gives.",
    says="Names, datatypes and shapes.",
    answers=_json(
        answers.ModelMetadata,
        {
            "name": _MODEL,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}],
            "parameters": {"digest": _DIGEST, "licence": "Apache-2.0", "task": "feature-extraction"},
        },
    ),
    codes={**KEYED, **NAMED},
)
_MODEL_READY = Operation(
    id="model_ready",
    tag="Open Inference Protocol",
    summary="Whether a model can be asked.",
    says="It can.",
    answers=_json(answers.ModelReady, {"name": _MODEL, "ready": True}),
    codes={**KEYED, **NAMED},
)


def _of_version(operation: Operation) -> Operation:
    return structs.replace(
        operation, id=f"{operation.id}_of_version", summary=f"{operation.summary[:-1]}, of one version."
    )


_OIP: Mapping[str, Operation] = {
    "GET /v2/health/live": _probe(
        "live", "Whether the process answers.", answers.OIPLive, {"live": True}, tag="Open Inference Protocol"
    ),
    "GET /v2/health/ready": _probe(
        "ready",
        "Whether calls can be answered.",
        answers.OIPReady,
        {"ready": True},
        {"ready": False},
        tag="Open Inference Protocol",
    ),
    "GET /v2": Operation(
        id="server",
        tag="Open Inference Protocol",
        summary="What this server is.",
        says="Its name, version and extensions.",
        answers=_json(
            answers.ServerMetadata, {"name": "sealpress", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
        ),
        codes=KEYED,
    ),
    "GET /v2/models/{name}": _METADATA,
    "GET /v2/models/{name}/versions/{version}": _of_version(_METADATA),
    "GET /v2/models/{name}/ready": _MODEL_READY,
    "GET /v2/models/{name}/versions/{version}/ready": _of_version(_MODEL_READY),
    "POST /v2/models/{name}/infer": _INFER,
    "POST /v2/models/{name}/versions/{version}/infer": _of_version(_INFER),
}


def _change(id_: str, summary: str, says: str) -> Operation:
    return Operation(
        id=id_,
        tag="Repository",
        summary=summary,
        bodies=_json(schemas.LoadRequest, {}),
        optional=True,
        says=says,
        answers=_json(answers.Nothing, {}),
        codes={**KEYED, **CHANGING},
    )


_REPOSITORY: Mapping[str, Operation] = {
    "POST /v2/repository/index": Operation(
        id="index",
        tag="Repository",
        summary="The bundles of this box, those that are refused included.",
        bodies=_json(schemas.IndexRequest, {"ready": True}),
        optional=True,
        says="Each with its state.",
        answers=_json(
            list[answers.RepositoryModel], [{"name": _MODEL, "version": "1", "state": "READY", "reason": ""}]
        ),
        codes={**KEYED, **READ},
    ),
    "POST /v2/repository/models/{name}/load": _change(
        "load", "Load a model that was unloaded, or look at its bundle again.", "It is loaded."
    ),
    "POST /v2/repository/models/{name}/unload": _change(
        "unload", "Take a model out of service until it is loaded again.", "It is unloaded; what it runs it finishes."
    ),
}
_BESIDE: Mapping[str, Operation] = {
    "GET /receipts": Operation(
        id="receipts",
        tag="Receipts",
        summary="Redeem the promises that answers carried in X-Receipt.",
        text="Within about a second a signed head covers a record; then this proves it. It holds hashes, no content.",
        query={
            "record": Query(
                text="Records of one shard, as a receipt names them.",
                kind=Annotated[
                    list[Annotated[str, Meta(pattern=r"^shard-[0-9]{3}/(0|[1-9][0-9]{0,15})$")]],
                    Meta(min_length=1, max_length=MAX_RECORDS),
                ],
                example=["shard-000/17"],
            )
        },
        says="The proof.",
        answers=_json(answers.Receipt, _RECEIPT),
        codes={**KEYED, **RECEIPTS},
    ),
    "GET /openapi.json": Operation(
        id="openapi",
        tag="Documentation",
        summary="This document.",
        keyed=False,
        says="OpenAPI 3.1.",
        answers={JSON: Content(kind=dict[str, Any])},
    ),
    "GET /docs": Operation(
        id="docs",
        tag="Documentation",
        summary="This document as a page.",
        text="It loads nothing from anywhere and runs no script, so it works offline and when it is saved.",
        keyed=False,
        says="The page.",
        answers={"text/html": Content(kind=str)},
    ),
}
OPERATIONS: Mapping[str, Operation] = {**_OPENAI, **_PREDICT, **_OIP, **_REPOSITORY, **_BESIDE, **_HEALTH}

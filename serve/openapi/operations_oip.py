"""The routes of the Open Inference Protocol, and of its repository of models."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from serve.openapi import answers, answers_oip, schemas
from serve.openapi.asking import ASKS, BINARY, DIGEST, GIVES, MODEL, in_json, probe
from serve.openapi.operation import ASKED, CHANGING, KEYED, NAMED, OIP, READ, Content, Operation

__all__ = ["OF_OIP"]

_INFER = Operation(
    id="infer",
    tag="Open Inference Protocol",
    summary="Ask a model of any kind for tensors.",
    text="Texts and images are elements of BYTES. With Inference-Header-Content-Length the JSON is followed by the "
    "bytes of those inputs that have a `binary_data_size`; the answer is of the same form where bytes were asked for.",
    takes=(*ASKS, "Inference-Header-Content-Length", "Accept-Encoding"),
    bodies={
        **in_json(
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
        **in_json(
            answers_oip.InferAnswer,
            {
                "model_name": MODEL,
                "model_version": "1",
                "outputs": [
                    {"name": "embedding", "datatype": "FP32", "shape": [1, 3], "data": [0.0123, -0.0456, 0.0789]}
                ],
            },
        ),
        BINARY: Content(),
    },
    gives=(*GIVES, "Inference-Header-Content-Length", "Content-Encoding"),
    codes={**KEYED, **ASKED, **NAMED, **OIP},
)
_METADATA = Operation(
    id="model_metadata",
    tag="Open Inference Protocol",
    summary="What a model takes and gives.",
    says="Names, datatypes and shapes.",
    answers=in_json(
        answers_oip.ModelMetadata,
        {
            "name": MODEL,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}],
            "parameters": {"digest": DIGEST, "licence": "Apache-2.0", "task": "feature-extraction"},
        },
    ),
    codes={**KEYED, **NAMED},
)
_MODEL_READY = Operation(
    id="model_ready",
    tag="Open Inference Protocol",
    summary="Whether a model can be asked.",
    says="It can.",
    answers=in_json(answers_oip.ModelReady, {"name": MODEL, "ready": True}),
    codes={**KEYED, **NAMED},
)


def _of_version(operation: Operation) -> Operation:
    return structs.replace(
        operation, id=f"{operation.id}_of_version", summary=f"{operation.summary[:-1]}, of one version."
    )


_OIP: Mapping[str, Operation] = {
    "GET /v2/health/live": probe(
        "live", "Whether the process answers.", answers_oip.OIPLive, {"live": True}, tag="Open Inference Protocol"
    ),
    "GET /v2/health/ready": probe(
        "ready",
        "Whether calls can be answered.",
        answers_oip.OIPReady,
        {"ready": True},
        {"ready": False},
        tag="Open Inference Protocol",
    ),
    "GET /v2": Operation(
        id="server",
        tag="Open Inference Protocol",
        summary="What this server is.",
        says="Its name, version and extensions.",
        answers=in_json(
            answers_oip.ServerMetadata, {"name": "sealpress", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
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
        bodies=in_json(schemas.LoadRequest, {}),
        optional=True,
        says=says,
        answers=in_json(answers.Nothing, {}),
        codes={**KEYED, **CHANGING},
    )


_REPOSITORY: Mapping[str, Operation] = {
    "POST /v2/repository/index": Operation(
        id="index",
        tag="Repository",
        summary="The bundles of this box, those that are refused included.",
        bodies=in_json(schemas.IndexRequest, {"ready": True}),
        optional=True,
        says="Each with its state.",
        answers=in_json(
            list[answers_oip.RepositoryModel], [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}]
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
OF_OIP: Mapping[str, Operation] = {**_OIP, **_REPOSITORY}

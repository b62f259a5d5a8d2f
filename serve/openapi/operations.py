"""Every route of a box, by method and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from serve.openapi import answers, schemas
from serve.openapi.asking import ASKS, DIGEST, GIVES, JSON, in_json, probe
from serve.openapi.operation import ASKED, KEYED, NAMED, RECEIPTS, TENSORS, Content, Operation, Query
from serve.openapi.operations_oip import OF_OIP
from serve.openapi.operations_openai import OF_OPENAI
from serve.receipts import MAX_RECORDS

__all__ = ["OPERATIONS"]

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

_HEALTH: Mapping[str, Operation] = {
    "GET /livez": probe("livez", "Whether the process answers.", answers.Alive, {"alive": True}),
    "GET /startupz": probe("startupz", "Whether models were loaded.", answers.Started, {"started": True}),
    "GET /readyz": probe(
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
_PREDICT: Mapping[str, Operation] = {
    "POST /v1/models/{name}/predict": Operation(
        id="predict",
        tag="Predict",
        summary="Ask a model of any kind.",
        text="A model of texts or images takes items and gives something for each; a model of tensors takes and gives "
        "nested lists by name.",
        takes=ASKS,
        bodies=in_json(
            schemas.PredictRequest,
            {"inputs": ["The fever is back."], "parameters": {"purpose": "classification", "top_k": 2}},
        ),
        says="What the model gave.",
        answers=in_json(
            answers.Prediction,
            {
                "model": "triage-int8",
                "version": "1",
                "digest": DIGEST,
                "outputs": [[{"label": "urgent", "score": 0.91}, {"label": "unclear", "score": 0.06}]],
                "usage": {"texts": 1, "tokens": 7},
            },
        ),
        gives=GIVES,
        codes={**KEYED, **ASKED, **NAMED, **TENSORS},
    )
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
        answers=in_json(answers.Receipt, _RECEIPT),
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
OPERATIONS: Mapping[str, Operation] = {**OF_OPENAI, **_PREDICT, **OF_OIP, **_BESIDE, **_HEALTH}

"""What the clients of a hospital's server send: several protocols, personal data, and mistakes of all kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, cycle
from random import Random

from benchmarks.serving.boxes import MODEL
from benchmarks.serving.load import Request
from benchmarks.serving.servers import TEXTS, post

__all__ = ["BUSY", "EXPECTED", "Mix", "embedding"]

BUSY = 503
_KEY = "KEY-THAT-IS-IN-FORCE"
_EMBEDDINGS, _PREDICT, _INFER = "/v1/embeddings", f"/v1/models/{MODEL}/predict", f"/v2/models/{MODEL}/infer"

# with what each kind may be answered, beside a server that is busy
EXPECTED: Mapping[str, frozenset[int]] = {
    name: frozenset({*statuses, BUSY})
    for name, statuses in {
        "embedding": {200},
        "batch in base64": {200},
        "predict": {200},
        "infer": {200},
        "personal data, with a basis": {200},
        "personal data, without": {403},
        "a purpose that nobody declared": {403},
        "a purpose that a rule opens and closes": {200, 403},
        "no time": {200},
        "no JSON": {400},
        "a field too many": {400},
        "token ids": {400},
        "other dimensions": {400},
        "a tensor that does not fit": {400},
        "a header twice": {400},
        "no such model": {404},
        "a path as the model": {404},
        "no such method": {405},
        "no key": {401},
        "a key that nobody made": {401},
    }.items()
}


def embedding(key: str, purpose: str = "search", kind: str = "embedding") -> Request:
    return post(_EMBEDDINGS, {"model": MODEL, "input": TEXTS[0]}, _headers(purpose, key), kind)


class Mix:
    """Requests in turn, without end, under the key that is in force."""

    def __init__(self, key: str) -> None:
        self._templates = _drawn()
        self.use(key)

    def use(self, key: str) -> None:
        """From the next request on. For any thread."""
        self._now = [Request(one.data.replace(_KEY.encode(), key.encode()), one.kind) for one in self._templates]

    def __iter__(self) -> Iterator[Request]:
        for number in count():
            now = self._now
            yield now[number % len(now)]


def _headers(purpose: str = "search", key: str = _KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "X-Purpose": purpose}


def _drawn() -> list[Request]:
    """A round of the mix, shuffled."""
    texts = cycle(TEXTS)

    def embeddings(kind: str, headers: Mapping[str, str], **said: object) -> Request:
        return post(_EMBEDDINGS, {"model": MODEL, "input": next(texts), **said}, headers, kind)

    def infer(kind: str, data: object, shape: list[int]) -> Request:
        tensor = {"name": "text", "shape": shape, "datatype": "BYTES", "data": data}
        return post(_INFER, {"inputs": [tensor]}, _headers(), kind)

    ours, personal = _headers(), "Please answer ann.miller@example.com before the third ward is closed for the night."
    requests = [embeddings("embedding", ours) for _ in range(24)]
    for _ in range(6):
        four = [next(texts) for _ in range(4)]
        requests += [
            post(_EMBEDDINGS, {"model": MODEL, "input": four, "encoding_format": "base64"}, ours, "batch in base64"),
            post(_PREDICT, {"inputs": [next(texts)]}, ours, "predict"),
            infer("infer", [next(texts)], [1]),
        ]
    for _ in range(3):
        requests += [
            embeddings("personal data, with a basis", {**ours, "X-Legal-Basis": "contract"}, input=personal),
            embeddings("personal data, without", ours, input=personal),
            embeddings("a purpose that a rule opens and closes", _headers("assistance")),
            embeddings("a purpose that a rule opens and closes", _headers("product")),
            embeddings("no time", {**ours, "X-Timeout-Ms": "1"}),
        ]
    requests += [
        embeddings("a purpose that nobody declared", _headers("mischief")),
        _altered(embeddings("no JSON", ours), b'{"model"', b'{,model"'),
        embeddings("a field too many", ours, colour="red"),
        embeddings("token ids", ours, input=[101, 102]),
        embeddings("other dimensions", ours, dimensions=7),
        infer("a tensor that does not fit", ["one", "two"], [3]),
        _altered(embeddings("a header twice", ours), b"X-Purpose: search", b"X-Purpose: search\r\nX-Purpose: search"),
        embeddings("no such model", ours, model="none"),
        post("/v1/models/..%2F..%2Fetc%2Fpasswd/predict", {"inputs": "x"}, ours, "a path as the model"),
        _altered(embeddings("no such method", ours), b"POST", b"PUT"),
        embeddings("no key", {"X-Purpose": "search"}),
        embeddings("a key that nobody made", _headers(key=f"sk-{'0' * 40}")),
    ]
    Random(5).shuffle(requests)  # noqa: S311 - the same each time
    return requests


def _altered(request: Request, old: bytes, new: bytes) -> Request:
    return request._replace(data=request.data.replace(old, new, 1))

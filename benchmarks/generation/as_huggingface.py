"""A GGUF file as a Hugging Face directory of floats, for engines that take no GGUF: FILE FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from toolkit.compress.intake import taken_in
from toolkit.compress.sources.gguf_format import Gguf
from toolkit.compress.sources.gguf_model import config_of, state_of

path, folder = Path(sys.argv[1]), Path(sys.argv[2])
file = Gguf(path.read_bytes())
config: dict[str, Any] = {**config_of(file), "architectures": ["LlamaForCausalLM"], "torch_dtype": "float32"}
tokenizer = taken_in(path).tokenizer
if tokenizer is None:
    sys.exit(f"{path} has no tokenizer")
folder.mkdir(parents=True)
weights = {name: np.ascontiguousarray(value) for name, value in state_of(file).items()}
save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
(folder / "config.json").write_text(json.dumps(config), "utf-8")
(folder / "tokenizer.json").write_bytes(tokenizer)
own = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
(folder / "tokenizer_config.json").write_text(json.dumps(own), "utf-8")

"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension: `tritonclient` works unchanged.

Sources: the Open Inference Protocol (https://github.com/kserve/open-inference-protocol, specification/protocol/
inference_rest.md) and Triton's extensions (https://github.com/triton-inference-server/server, docs/protocol:
extension_binary_data.md, extension_classification.md, extension_model_repository.md).
"""

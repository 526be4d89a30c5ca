"""A network as the bytes of an ONNX file that takes pixels as they are, 0 to 255."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from typing import TYPE_CHECKING

import onnx
import torch
from torch import nn

from mnist_dvc.data.arrays import SIDE
from mnist_dvc.data.digits import normalise
from mnist_dvc.files import BLANK, sealed
from mnist_dvc.operators import INPUT, OUTPUT
from mnist_dvc.serving import CLASSES, SEAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from mnist_dvc.model.weights import Card

__all__ = ["onnx_bytes", "properties_of"]


class _FromPixels(nn.Module):
    """What turns pixels into network input is part of the file, so that who uses it need not know of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_N1HW: Tensor) -> Tensor:
        """(N, 1, 28, 28), uint8 from 0 to 255, to logits (N, 10), by the operations of ``Digits``."""
        logits_NK: Tensor = self.network(normalise(images_N1HW.float().div_(255.0)))
        return logits_NK


def onnx_bytes(model: nn.Module, opset: int, properties: Mapping[str, str]) -> bytes:
    """``model`` in evaluation mode as an ONNX file: same weights, properties and versions, same bytes.

    Its input ``images`` is (N, 1, 28, 28), uint8 from 0, background, to 255, ink, for any N; its output ``logits`` is
    (N, 10), float32.

    Args:
        model: takes normalised images on the CPU.
        opset: version of the ONNX operators, 18 to 23.
        properties: what the file says of itself, beside its own SHA-256.
    """
    sample_N1HW = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            _FromPixels(model).eval(),
            (sample_N1HW,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    proto = program.model_proto
    _strip(proto)
    onnx.helper.set_model_props(proto, {**properties, SEAL: BLANK})
    onnx.checker.check_model(proto, full_check=True)
    return sealed(proto.SerializeToString(deterministic=True))


def properties_of(card: Card, sha256: str) -> dict[str, str]:
    """What the ONNX file of the model with ``card``, whose model file has the digest ``sha256``, says of itself."""
    told = {
        "network": card.network,
        "dataset": card.dataset,
        "data_digest": card.data_digest,
        "model_sha256": sha256,
    }
    return told | ({CLASSES: json.dumps(card.classes, ensure_ascii=False)} if card.classes else {})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter thinks of its own libraries; that it failed it says with an error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _strip(proto: onnx.ModelProto) -> None:
    """Take out the exporter's notes: they hold stack traces with the paths of this machine, and double the size."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")

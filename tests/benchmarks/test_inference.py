"""Inference of the shipped networks on a CPU: plain PyTorch against folded bfloat16, torch.compile and ONNX Runtime."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest
import torch
from comparing import all_cores, compare, threads
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mnist_dvc.model import build
from mnist_dvc.model.blocks import initialise
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.params import ModelParams

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = 512
PIXELS_N1HW = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def network(name: str) -> nn.Module:
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(0))
    initialise(model, torch.Generator().manual_seed(1))
    return model.eval()


def folded(model: nn.Module) -> nn.Module:
    """A copy with every BatchNorm that follows a convolution at once folded into it."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return model


def in_torch(model: Callable[[Tensor], Tensor], size: int, dtype: torch.dtype, layout: torch.memory_format) -> None:
    with torch.inference_mode():
        for images_N1HW in torch.split(PIXELS_N1HW, size):
            model(images_N1HW.to(dtype, memory_format=layout))


def in_onnxruntime(session: onnxruntime.InferenceSession, size: int) -> None:
    for images_N1HW in torch.split(PIXELS_N1HW, size):
        session.run(["logits"], {"images": images_N1HW.numpy()})


@pytest.mark.benchmark(group="inference")
@pytest.mark.parametrize("count", sorted({1, all_cores()}))
@pytest.mark.parametrize("size", [1, 256])
@pytest.mark.parametrize("name", ["reference", "compact"])
def test_inference_against_plain_pytorch(benchmark: Any, name: str, size: int, count: int) -> None:
    """The benchmark is ONNX Runtime, which `export` writes for and `predict` answers with."""
    plain = network(name)
    fast = folded(plain).bfloat16().to(memory_format=torch.channels_last)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    session = onnxruntime.InferenceSession(onnx_bytes(plain, 18, {}), options, providers=["CPUExecutionProvider"])
    frozen = torch.compile(copy.deepcopy(plain).to(memory_format=torch.channels_last), dynamic=False)
    kept, last, full = torch.contiguous_format, torch.channels_last, torch.float32
    with threads(count):
        others = {
            "eager": lambda: in_torch(plain, size, full, kept),
            "folded_bfloat16": lambda: in_torch(fast, size, torch.bfloat16, last),
            "compiled": lambda: in_torch(frozen, size, full, last),
        }
        told = compare(benchmark, lambda: in_onnxruntime(session, size), others, rounds=5)
    speed = {"images_per_second": round(IMAGES / told["seconds"])}
    benchmark.extra_info |= {"network": name, "batch": size, "threads": count} | told | speed

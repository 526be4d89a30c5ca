"""Inference: plain PyTorch against folded networks, torch.compile and ONNX Runtime; scoring; the export itself."""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from comparing import all_cores, as_stages_compute, compare, only_on_the_cpu, rounded, threads, timed_on_the_cpu
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from trainings import DEFAULT, network, noise
from usual import TEST_BATCH, usual_evaluation, usual_loader

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import one_line
from mnist_dvc.inference import logits_of
from mnist_dvc.model.blocks import initialise
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.runtime import choose_precision
from mnist_dvc.serving import OnnxModel

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = 512
PIXELS_N1HW = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
TEST_IMAGES, BATCH = 10_000, DEFAULT.evaluate.batch_size
OPSET = 18


def initialised(name: str) -> nn.Module:
    model = network(name)
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


def in_torch(model: Callable[[Tensor], Tensor], size: int, pixels_N1HW: Tensor) -> None:
    with torch.inference_mode():
        for images_N1HW in torch.split(pixels_N1HW, size):
            model(images_N1HW)


def compiled(model: nn.Module, sample_N1HW: Tensor) -> Callable[[Tensor], Tensor] | str:
    """``model`` as torch.compile makes it, its first answer given, or why it cannot: mostly for want of a compiler."""
    try:
        with warnings.catch_warnings(action="ignore"), torch.inference_mode():
            made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
            made(sample_N1HW)
    except Exception as error:  # noqa: BLE001  (each backend fails in its own way)
        return f"not measured: {one_line(f'{type(error).__name__}: {error}'.partition(chr(10))[0], 100)}"
    return made


@pytest.mark.benchmark(group="inference")
@pytest.mark.parametrize("size", [1, 256])
@pytest.mark.parametrize("name", ["reference", "compact"])
def test_inference_against_plain_pytorch(
    benchmark: Any, device: torch.device, name: str, size: int, count: int
) -> None:
    """The benchmark is ONNX Runtime, on the CPU whatever the device is: `export` writes for it, `predict` asks it."""
    plain = initialised(name).to(device)
    pixels, pixels_N1HW = (PIXELS_N1HW * 255).to(torch.uint8).numpy(), PIXELS_N1HW.to(device)
    precision = choose_precision("auto", device)
    dtype = getattr(torch, precision)
    lean = folded(plain).to(dtype).to(memory_format=torch.channels_last)
    shipped = OnnxModel.of(released_onnx(name).read_bytes(), threads=count)
    lasting_N1HW = pixels_N1HW.to(memory_format=torch.channels_last)
    others = {
        "eager": lambda: in_torch(plain, size, pixels_N1HW),
        f"folded_{precision}": lambda: in_torch(lean, size, lasting_N1HW.to(dtype)),
    }
    with threads(count):
        if size > 1:  # to compile takes a quarter of a minute, which nobody spends on single images
            frozen = compiled(copy.deepcopy(plain).to(memory_format=torch.channels_last), lasting_N1HW[:size])
            if isinstance(frozen, str):
                benchmark.extra_info["compiled"] = frozen
            else:
                others["compiled"] = lambda: in_torch(frozen, size, lasting_N1HW)
        told = compare(benchmark, lambda: shipped.logits(pixels, size), others, device=device, rounds=3)
    speed = {"images_per_second": round(IMAGES / told["seconds"])}
    benchmark.extra_info |= {"network": name, "batch": size, "threads": count} | told | speed
    benchmark.extra_info |= {"onnxruntime_runs_on": "cpu", "others_run_on": device.type} | timed_on_the_cpu(device)


@pytest.mark.benchmark(group="inference")
@pytest.mark.parametrize("name", ["reference", "compact"])
def test_evaluation(benchmark: Any, device: torch.device, name: str) -> None:
    """As many images as MNIST's test set in float32, as `evaluate` does it; the usual way takes them one by one."""
    images = noise(TEST_IMAGES)
    model, resident = initialised(name).to(device).to(memory_format=torch.channels_last), Digits.on(device, images)
    usual, loader = initialised(name).to(device), usual_loader(images, batch_size=TEST_BATCH)

    def ours() -> None:
        with as_stages_compute():
            logits_of(model, resident, BATCH)

    with threads(all_cores()):
        told = compare(
            benchmark,
            ours,
            {"usual": lambda: usual_evaluation(usual, loader, device)},
            device=device,
            rounds=2,
        )
    speed = {"images_per_second": round(TEST_IMAGES / told["seconds"])}
    benchmark.extra_info |= {"network": name, "batch": BATCH, "threads": all_cores()} | told | speed


@pytest.mark.benchmark(group="inference")
def test_export(benchmark: Any, device: torch.device) -> None:
    """A network to the bytes of its ONNX file, the exporter imported and warm."""
    only_on_the_cpu(device, "the exporter traces on the CPU")
    model = initialised("reference")
    benchmark.pedantic(lambda: onnx_bytes(model, OPSET, {}), rounds=2, warmup_rounds=1)
    benchmark.extra_info |= {"network": "reference", "threads": 1, "seconds": rounded(benchmark.stats.stats.median)}

"""The stages with the device that ``--device`` names: trained there, its files are read anywhere, and all agree."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers import params, read_csv, write_scores
from killing import tracked

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.inference import logits_of
from mnist_dvc.model.weights import read_model
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.export import export
from mnist_dvc.pipeline.train import train
from mnist_dvc.program import _report_unexpected
from mnist_dvc.running import run
from mnist_dvc.runtime import choose_device, choose_precision, provenance
from mnist_dvc.serving import read_onnx
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

pytestmark = pytest.mark.usefixtures("_as_a_stage")

OTHER = {"cpu": "cuda", "cuda": "cpu"}


def params_on(device: torch.device, **train: Any) -> Params:
    return params(device=device.type, **train)


@pytest.fixture
def trained(workspace: Paths, device: torch.device) -> Paths:
    train(params_on(device, epochs=4, batch_size=20), workspace)
    return workspace


def answers(paths: Paths, device: torch.device, seed: int | None = None) -> NDArray[np.float32]:
    """Logits of the test images, computed on ``device`` by the published model, or with weights of its own."""
    model, _ = read_model(paths.model)
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    digits = Digits.on(device, Prepared.open(paths.prepared).read("test"))
    return logits_of(model.to(device), digits, 64).cpu().numpy()


def confidences(logits_NK: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(torch.from_numpy(logits_NK).double().softmax(dim=1).max(dim=1).values)


def tensors_in(tree: Mapping[Any, Any]) -> Iterator[torch.Tensor]:
    for value in tree.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            yield from tensors_in(value)


READ = (
    "import sys, torch; from pathlib import Path\n"
    "from mnist_dvc.model.weights import read_model\n"
    "told = torch.load(sys.argv[1], weights_only=True)\n"
    "read_model(Path(sys.argv[2]))\n"
    "print(torch.cuda.is_available(), len(told['optimizer_state_dict']['state']))\n"
)


def test_files_of_a_training_need_no_device(trained: Paths, device: torch.device) -> None:
    """No tensor is anywhere but on the CPU, and a process that sees no GPU reads them all."""
    content = torch.load(trained.checkpoint, weights_only=True)
    tensors = list(tensors_in(content))
    assert len(tensors) > 50
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert content["about"]["provenance"]["device"] == device.type
    alone = subprocess.run(
        [sys.executable, "-c", READ, str(trained.checkpoint), str(trained.model)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert alone.stdout.split() == ["False", str(len(content["optimizer_state_dict"]["state"]))]


def test_checkpoint_goes_on_in_the_optimiser_of_torch(trained: Paths, device: torch.device) -> None:
    """As others would: the weights on the device, in the layout of the training, the state as it is in the file."""
    content = torch.load(trained.checkpoint, weights_only=True)
    model, _ = read_model(trained.model)
    model.load_state_dict(content["raw_model_state_dict"])
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups: list[list[torch.nn.Parameter]] = [[], []]
    for parameter in model.parameters():
        groups[parameter.ndim <= 1].append(parameter)
    adamw = torch.optim.AdamW([{"params": group} for group in groups])
    adamw.load_state_dict(content["optimizer_state_dict"])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    adamw.step()
    assert not any(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_evaluation_on_the_cpu_agrees_with_the_device(trained: Paths, device: torch.device) -> None:
    evaluate(params_on(device), trained)
    rows = read_csv(trained.test_report / "predictions.csv")
    logits_NK = answers(trained, device)
    assert [int(row["predicted"]) for row in rows] == logits_NK.argmax(axis=1).tolist()
    told = [float(row["confidence"]) for row in rows]
    np.testing.assert_allclose(told, confidences(logits_NK), atol=1e-4)
    others_NK = answers(trained, device, seed=1)
    assert [int(row["predicted"]) for row in rows] != others_NK.argmax(axis=1).tolist()
    assert not np.allclose(told, confidences(others_NK), atol=1e-2)


def test_export_agrees_with_the_device(trained: Paths, device: torch.device) -> None:
    write_scores(trained, read_model(trained.model)[1].parameters)
    export(params_on(device), trained)
    images_N1HW = Prepared.open(trained.prepared).read("test").images_NHW[:, None]
    logits_NK = read_onnx(trained.onnx).logits(images_N1HW, 64)
    np.testing.assert_allclose(logits_NK, answers(trained, device), atol=1e-3)
    assert not np.allclose(logits_NK, answers(trained, device, seed=1), atol=0.1)


def test_stage_twice_gives_the_same_bytes(workspace: Paths, device: torch.device) -> None:
    train(params_on(device), workspace)
    first = tracked(workspace)
    train(params_on(device), workspace)
    assert tracked(workspace) == first
    train(params_on(device, seed=2), workspace)
    assert tracked(workspace) != first


class Killed(BaseException):
    """What no stage handles."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Ends the training after the step in the list, if there is one, with a snapshot of the step before."""
    after: list[int] = []
    train_on = Training._train_on

    def train_and_die(self: Training, *batch: Any) -> None:
        if self.step in after:
            raise Killed
        train_on(self, *batch)

    monkeypatch.setattr(Training, "_train_on", train_and_die)
    yield after
    after.clear()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stage_goes_on_to_the_same_bytes(
    workspace: Paths,
    device: torch.device,
    killed_after: list[int],
    precision: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = params_on(device, precision=precision)
    train(chosen, workspace)
    whole = tracked(workspace)
    killed_after.append(9)
    with pytest.raises(Killed):
        train(chosen, workspace, snapshot_every=0.0)
    killed_after.clear()
    capsys.readouterr()
    train(chosen, workspace)
    assert "Going on after step 9 of 14" in capsys.readouterr().out
    assert tracked(workspace) == whole


def test_snapshot_of_another_device_is_left_alone(
    workspace: Paths,
    device: torch.device,
    killed_after: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(params_on(device), workspace)
    whole = tracked(workspace)
    killed_after.append(9)
    monkeypatch.setattr(run, "provenance", lambda *of: provenance(*of) | {"device": OTHER[device.type]})
    with pytest.raises(Killed):
        train(params_on(device), workspace, snapshot_every=0.0)
    monkeypatch.setattr(run, "provenance", provenance)
    killed_after.clear()
    (kept,) = (workspace.state / "resume").iterdir()
    capsys.readouterr()
    train(params_on(device), workspace)
    told = f"Starting anew: the training in {kept} is unfinished and has other params, data, code or machine\n"
    assert told in capsys.readouterr().out
    assert tracked(workspace) == whole
    assert list(kept.iterdir()) != []


def test_device_and_precision_are_what_the_machine_has(device: torch.device) -> None:
    assert choose_device(device.type) == device
    assert choose_precision("auto", device) in ("float32", "bfloat16")
    assert choose_device("auto").type == "cuda" or device.type == "cpu"


def test_record_names_the_device(device: torch.device) -> None:
    record = provenance(1, device, "float32")
    assert record["device"] == device.type
    assert ("accelerator" in record) == ("cudnn" in record) == (device.type == "cuda")


def test_full_device_ends_in_words(device: torch.device, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, device=device)
    assert _report_unexpected(caught.value) == 74
    told = capsys.readouterr().err
    assert told.startswith("mnist-dvc: out of memory (")
    assert told.endswith("); a smaller batch_size in the params needs less\n")
    assert told.count("\n") == 1


def test_words_of_a_full_gpu_become_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79.19 GiB.\nC++ stack")
    assert _report_unexpected(error) == 74
    expected = "mnist-dvc: out of memory (CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79.19 GiB.); "
    assert capsys.readouterr().err == f"{expected}a smaller batch_size in the params needs less\n"
    assert _report_unexpected(RuntimeError("something else")) == 70

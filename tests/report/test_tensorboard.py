"""What a training and its evaluation write for TensorBoard, read back as TensorBoard reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import mnist_dvc
from mnist_dvc.metrics import Predictions
from mnist_dvc.report.eventlog import EventLog
from mnist_dvc.report.tensorboard import TensorBoardReport, show_test
from mnist_dvc.training.events import EpochEnded, EpochRow, Finished, Measured, Stepped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

OF_AN_EPOCH = {
    "loss/train",
    "loss/val",
    "accuracy/train",
    "accuracy/val",
    "lr",
    "throughput/images_per_second",
    "grad_norm",
}
OF_A_STEP = {"step/loss", "step/lr", "step/grad_norm"}


def ended(epoch: int, val: float | None = 0.5) -> EpochEnded:
    row = EpochRow(epoch=epoch, train_loss=1 / epoch, val_loss=val, train_accuracy=0.5, val_accuracy=val, lr=0.25)
    return EpochEnded(row=row, images_per_second=1000.0, gradient_norm=2.0)


def measured(step: int) -> Measured:
    return Measured(step=step, loss=1 / step, lr=0.1, gradient_norm=3.0)


FINISHED = Finished(model=nn.Identity(), raw_model_state={}, optimizer_state={}, history=())


class Network(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def report(tmp_path: Path, network: Network) -> Callable[..., TensorBoardReport]:
    def of(**more: int) -> TensorBoardReport:
        return TensorBoardReport(
            tmp_path,
            network,
            fed_N1HW=torch.rand(64, 1, 28, 28),
            params={"model.name": "network", "train.epochs": 20},
            card="| what | which |\n|---|---|\n| network | network |",
            say=print,
            **({"epochs": 20} | more),
        )

    return of


def written(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "tensors", "histograms"), 0)).Reload()


def steps(folder: Path, tag: str) -> list[int]:
    return [point.step for point in written(folder).Scalars(tag)]


def test_each_epoch_is_a_point_under_the_fixed_tags_in_one_run(
    tmp_path: Path, report: Callable[..., TensorBoardReport]
) -> None:
    with report() as opened:
        opened.handle(Stepped(step=1))
        for epoch in (1, 2, 4):
            opened.handle(ended(epoch))
    (file,) = tmp_path.iterdir()
    assert file.is_file()
    accumulator = written(tmp_path)
    tags = accumulator.Tags()
    assert set(tags["scalars"]) == OF_AN_EPOCH
    points = accumulator.Scalars("loss/train")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert "custom_scalars__config__" in tags["tensors"]


def test_steps_and_epochs_are_visible_before_the_run_ends(
    tmp_path: Path, report: Callable[..., TensorBoardReport]
) -> None:
    with report() as opened:
        opened.handle(measured(7))
        assert [(point.step, point.value) for point in written(tmp_path).Scalars("step/grad_norm")] == [(7, 3.0)]
        opened.handle(ended(1))
        assert written(tmp_path).Scalars("lr")[0].value == pytest.approx(0.25)


def test_without_validation_there_are_no_such_curves(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        opened.handle(ended(1, val=None))
    assert set(written(tmp_path).Tags()["scalars"]) == OF_AN_EPOCH - {"loss/val", "accuracy/val"}


def test_run_opens_with_card_params_graph_and_what_the_network_is_fed(
    tmp_path: Path, report: Callable[..., TensorBoardReport], network: Network
) -> None:
    with report():
        pass
    accumulator = written(tmp_path)
    card = accumulator.Tensors("card/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| network | network |" in card
    assert accumulator.Graph().node
    (grid,) = accumulator.Images("fed/distorted")
    assert (grid.width, grid.height) == (8 * 28, 8 * 28)
    start = session(accumulator, hparams.SESSION_START_INFO_TAG).session_start_info
    told = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    assert told == {"model.name": "string_value", "train.epochs": "number_value"}
    names = [info.name.tag for info in session(accumulator, hparams.EXPERIMENT_TAG).experiment.metric_infos]
    assert {"test/accuracy", "accuracy/val"} <= set(names)
    assert network.training


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_graph_is_the_one_that_pytorch_draws(tmp_path: Path) -> None:
    model, image_N1HW = mnist_dvc.build("compact").eval(), torch.zeros(1, 1, 28, 28)
    with EventLog(tmp_path / "ours", keep=lambda *_: True, say=print) as log:
        log.graph(model, image_N1HW)
    with SummaryWriter(tmp_path / "theirs") as writer:
        writer.add_graph(model, image_N1HW)
    ours, theirs = (written(tmp_path / name).Graph() for name in ("ours", "theirs"))
    assert len(ours.node) > 50
    assert ours == theirs


GRAPH = """
import sys
import mnist_dvc, torch
from torch.utils.tensorboard import SummaryWriter
from mnist_dvc.report.eventlog import EventLog
model, image_N1HW = mnist_dvc.build("compact-1k"), torch.zeros(1, 1, 28, 28)
with EventLog(__import__("pathlib").Path("ours"), keep=lambda *_: True, say=print) as log:
    log.graph(model, image_N1HW)
print("sympy" in sys.modules)
SummaryWriter("theirs").add_graph(model, image_N1HW)
print("sympy" in sys.modules)
"""


def test_graph_does_not_import_the_compiler(tmp_path: Path) -> None:
    """PyTorch's own writer does, which is the twin."""
    command = [sys.executable, "-W", "ignore", "-c", GRAPH]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def session(accumulator: EventAccumulator, tag: str) -> hparams.plugin_data_pb2.HParamsPluginData:
    content = accumulator.SummaryMetadata(tag).plugin_data.content
    return hparams.plugin_data_pb2.HParamsPluginData.FromString(content)


def test_session_ends_with_the_training(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        assert hparams.SESSION_END_INFO_TAG not in written(tmp_path).summary_metadata
        opened.handle(FINISHED)
    assert session(written(tmp_path), hparams.SESSION_END_INFO_TAG).session_end_info.status == 1


@pytest.mark.parametrize(("epochs", "expected"), [(3, [1, 2, 3]), (20, [4, 8, 12, 16, 20]), (26, [6, 12, 18, 24])])
def test_every_few_epochs_weights_and_gradients_are_told(
    tmp_path: Path, report: Callable[..., TensorBoardReport], network: Network, epochs: int, expected: list[int]
) -> None:
    network(torch.rand(2, 1, 28, 28)).sum().backward()
    with report(epochs=epochs) as opened:
        for epoch in range(1, epochs + 1):
            opened.handle(ended(epoch))
    accumulator = written(tmp_path)
    assert set(accumulator.Tags()["histograms"]) == {
        f"{g}/1.{n}" for g in ("weights", "gradients") for n in ("weight", "bias")
    }
    assert [event.step for event in accumulator.Histograms("gradients/1.weight")] == expected


def test_training_that_is_timed_shows_what_costs_no_time(tmp_path: Path, network: Network) -> None:
    with TensorBoardReport(
        tmp_path, network, fed_N1HW=None, params={"a": 1}, card="card", epochs=1, say=print
    ) as opened:
        opened.handle(measured(1))
        opened.handle(ended(1))
    tags = written(tmp_path).Tags()
    assert (tags["images"], tags["histograms"], tags["graph"]) == ([], [], False)
    assert set(tags["scalars"]) == OF_A_STEP | OF_AN_EPOCH
    assert "card/text_summary" in tags["tensors"]


def test_weights_that_are_no_numbers_have_no_histogram(
    tmp_path: Path, report: Callable[..., TensorBoardReport], network: Network
) -> None:
    nn.init.constant_(network[1].bias, torch.nan)  # type: ignore[arg-type]
    with report(epochs=1) as opened:
        opened.handle(ended(1))
    assert written(tmp_path).Tags()["histograms"] == ["weights/1.weight"]


# ------------------------------------------------------------------------------------------------------------ going on


def test_run_that_is_gone_on_with_shows_everything_once(
    tmp_path: Path, report: Callable[..., TensorBoardReport]
) -> None:
    with report() as opened:
        for step in range(1, 8):
            opened.handle(measured(step))
        opened.handle(ended(1))
        opened.handle(ended(2))
    with report(step=5, epochs_done=1) as opened:
        assert steps(tmp_path, "step/loss") == [1, 2, 3, 4, 5]
        for step in range(6, 9):
            opened.handle(measured(step))
        opened.handle(ended(2))
    assert steps(tmp_path, "step/loss") == list(range(1, 9))
    assert steps(tmp_path, "loss/train") == [1, 2]
    accumulator = written(tmp_path)
    assert len(accumulator.Images("fed/distorted")) == len(accumulator.Tensors("card/text_summary")) == 1
    assert accumulator.Tags()["graph"]
    assert sum(path.stat().st_size > 0 for path in tmp_path.iterdir()) == 1


def test_run_in_which_all_stays_is_added_to(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        opened.handle(measured(1))
    (file,) = tmp_path.iterdir()
    size = file.stat().st_size
    with report(step=1) as opened:
        opened.handle(measured(2))
    assert file.stat().st_size == size
    assert steps(tmp_path, "step/loss") == [1, 2]


def test_reader_that_was_there_all_the_time_sees_nothing_twice(
    tmp_path: Path, report: Callable[..., TensorBoardReport]
) -> None:
    with report() as opened:
        for step in range(1, 8):
            opened.handle(measured(step))
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "events.out.tfevents.1.earlier")  # a process of an earlier second
    reader = written(tmp_path)
    with report(step=5) as opened:
        opened.handle(measured(6))
        reader.Reload()
    assert [point.step for point in reader.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]


def test_half_a_record_at_the_end_is_forgotten(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        opened.handle(measured(1))
        opened.handle(measured(2))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    with report(step=2) as opened:
        opened.handle(measured(3))
    assert steps(tmp_path, "step/lr") == [1, 2, 3]
    assert steps(tmp_path, "step/grad_norm") == [1, 3]


def test_process_that_dies_while_it_takes_over_loses_nothing(
    tmp_path: Path, report: Callable[..., TensorBoardReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    with report() as opened:
        for step in range(1, 4):
            opened.handle(measured(step))
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "events.out.tfevents.1.earlier")
    with monkeypatch.context() as patched:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("mnist_dvc.report.eventlog.os.truncate", die)
        with pytest.raises(KeyboardInterrupt):
            report(step=2)
    assert steps(tmp_path, "step/loss") == [1, 2]
    with report(step=2):
        pass
    assert steps(tmp_path, "step/loss") == [1, 2]


def test_run_whose_opening_was_cut_short_begins_anew(
    tmp_path: Path, report: Callable[..., TensorBoardReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("mnist_dvc.report.eventlog.hparams", die)
        with pytest.raises(KeyboardInterrupt):
            report()
    with report():
        pass
    assert len(written(tmp_path).Images("fed/distorted")) == 1


def test_disk_that_refuses_is_told_once(
    tmp_path: Path,
    report: Callable[..., TensorBoardReport],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with report() as opened:
        opened.handle(measured(1))

        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", refuse)
        opened.handle(measured(2))
        opened.handle(ended(1))
        opened.handle(FINISHED)
    assert capsys.readouterr().out == "no TensorBoard curves from here on: [Errno 28] No space left on device\n"
    assert steps(tmp_path, "step/loss") == [1]


# ---------------------------------------------------------------------------------------------------------- evaluation


def shown(folder: Path, accuracy: float = 0.9, classes: Sequence[str] = ()) -> None:
    random = np.random.default_rng(0)
    labels_N = np.arange(50, dtype=np.int64) % (len(classes) or 10)
    show_test(
        folder,
        20,
        scores={"accuracy": accuracy, "errors": 3.0},
        predictions=Predictions.from_logits(random.normal(size=(50, 10)), labels_N),
        pictures={"confusion": png(), "mistakes": png()},
        features_MD=torch.rand(30, 4),
        images_NHW=random.integers(0, 256, (50, 28, 28), dtype=np.uint8),
        classes=classes,
        say=print,
    )


def png() -> bytes:
    from matplotlib.figure import Figure  # noqa: PLC0415

    from mnist_dvc.report.png import png_bytes  # noqa: PLC0415

    return png_bytes(Figure(figsize=(3, 2)))


def test_evaluation_joins_the_run_of_its_training(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        opened.handle(ended(20))
    shown(tmp_path)
    accumulator = written(tmp_path)
    assert [(point.step, point.value) for point in accumulator.Scalars("test/errors")] == [(20, 3.0)]
    assert steps(tmp_path, "loss/train") == [20]
    (confusion,) = accumulator.Images("test/confusion")
    assert (confusion.width, confusion.height) == (360, 240)
    curves = [tag for tag in accumulator.Tags()["tensors"] if tag.startswith("test/digit_")]
    assert curves == [f"test/digit_{digit}" for digit in range(10)]
    assert "test_digits" in (tmp_path / "projector_config.pbtxt").read_text()
    assert len(next(tmp_path.rglob("tensors.tsv")).read_text().splitlines()) == 30
    assert next(tmp_path.rglob("metadata.tsv")).read_text().splitlines() == [str(k % 10) for k in range(30)]
    assert next(tmp_path.rglob("sprite.png")).stat().st_size > 0
    assert not [path for path in tmp_path.rglob("*tfevents*") if path.parent != tmp_path]


def test_classes_that_are_no_digits_go_by_their_names(tmp_path: Path, report: Callable[..., TensorBoardReport]) -> None:
    with report() as opened:
        opened.handle(ended(20))
    shown(tmp_path, classes=("Bag", "Ankle boot"))
    tags = [tag for tag in written(tmp_path).Tags()["tensors"] if tag.startswith("test/")]
    assert tags == ["test/class_Bag", "test/class_Ankle boot"]
    assert next(tmp_path.rglob("metadata.tsv")).read_text().splitlines() == ["Bag", "Ankle boot"] * 15


def test_another_evaluation_takes_the_place_of_the_first(
    tmp_path: Path, report: Callable[..., TensorBoardReport]
) -> None:
    with report() as opened:
        opened.handle(ended(20))
    shown(tmp_path, 0.1)
    shown(tmp_path, 0.9)
    accumulator = written(tmp_path)
    assert [point.value for point in accumulator.Scalars("test/accuracy")] == [pytest.approx(0.9)]
    assert len(accumulator.Images("test/mistakes")) == len(accumulator.Tensors("test/digit_0")) == 1
    assert steps(tmp_path, "loss/train") == [20]

"""A training on the device that ``--device`` names: the CPU's numbers, the same bits twice, and to be gone on with."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from devices import TRAIN, Course, course_on, outcome, stopped_after, training_on
from helpers import augment_params, hard_params, params
from torch.nn import functional as F

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.model import NETWORKS, TEACHERS
from mnist_dvc.model.weights import kind_of
from mnist_dvc.randomness import generator
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.events import EpochEnded, EpochRow, Stepped
from mnist_dvc.training.teaching import Lesson, Teaching

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mnist_dvc.params import AugmentParams
    from mnist_dvc.training.engine import Training

pytestmark = pytest.mark.usefixtures("_as_a_stage")

CPU = torch.device("cpu")
every_network = pytest.mark.parametrize("name", [*NETWORKS, *TEACHERS])


def apart(got: Tensor, expected: Tensor) -> float:
    """How far two tensors are apart, in the length of the second."""
    return float((got.double().cpu() - expected.double()).norm() / expected.double().norm())


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "convolution": F.conv2d,
    "matrix product": lambda images_NCHW, filters: images_NCHW.flatten(1)[:, :144] @ filters.flatten(1).T,
}


def product(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    images_NCHW, filters = torch.randn((64, 16, 14, 14), generator=drawn), torch.randn((32, 16, 3, 3), generator=drawn)
    return PRODUCTS[name](images_NCHW.to(device, dtype), filters.to(device, dtype))


@pytest.mark.parametrize("name", PRODUCTS)
def test_float32_is_float32(device: torch.device, name: str) -> None:
    """And not the 10 bits of TF32, which come to 3e-4."""
    assert apart(product(name, device), product(name, CPU, torch.float64)) < 3e-5


@pytest.mark.parametrize("name", PRODUCTS)
def test_fewer_bits_would_be_seen(device: torch.device, name: str) -> None:
    assert apart(product(name, device, torch.bfloat16), product(name, CPU, torch.float64)) > 1e-3


LIVELY: dict[str, Any] = {"augment": augment_params(rotation=10.0, shift=2.0, scale=0.1, shear=0.1, elastic=1.0)}
LIMITS = {"gradient": 0.03, "losses": 0.002, "moved": 0.2}
"""Two float32 trainings on one CPU come to a half of each at most, bfloat16 to 1.2 times the least at least."""


def differences(got: Course, expected: Course) -> dict[str, float]:
    """What is further apart than rounding may bring it."""
    found = {
        "gradient": apart(got.gradient, expected.gradient),
        "losses": float(((got.losses - expected.losses).abs() / expected.losses).max()),
        "moved": apart(got.moved, expected.moved),
    }
    return {what: value for what, value in found.items() if not value <= LIMITS[what]}


@every_network
def test_training_follows_that_on_the_cpu(device: torch.device, name: str) -> None:
    assert differences(course_on(device, name), course_on(CPU, name)) == {}


def test_training_with_teachers_follows_that_on_the_cpu(device: torch.device) -> None:
    plain = {"teaching": taught(augment_params()), "distillation": 0.7}
    expected = course_on(CPU, "compact", **plain)
    assert differences(course_on(device, "compact", **plain), expected) == {}
    assert differences(course_on(device, "compact"), expected).keys() >= {"gradient"}


OTHERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "rate": ({"learning_rate": 0.0015}, {"losses", "moved"}),
    "smoothing": ({"label_smoothing": 0.3}, {"gradient", "losses"}),
    "precision": ({"precision": "bfloat16"}, {"gradient", "moved"}),
}


@pytest.mark.parametrize("name", ["reference", "compact"])
@pytest.mark.parametrize("other", OTHERS)
def test_another_training_would_be_seen(device: torch.device, name: str, other: str) -> None:
    """The twin of the tests above."""
    changes, seen = OTHERS[other]
    assert differences(course_on(device, name, **changes), course_on(CPU, name)).keys() >= seen


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "bfloat16") for name in NETWORKS), *((n, "float32") for n in NETWORKS | TEACHERS)]
)
def test_same_training_twice_gives_the_same_bits(device: torch.device, name: str, precision: str) -> None:
    """Weights, averages, moments and history, with distortions and dropout drawn on the device."""
    short = LIVELY | {"epochs": 1, "batch_size": 50, "precision": precision}
    first, again = (outcome(training_on(device, name, **short)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("change", [{"seed": 2}, {"dropout": 0.2}, {"augment": augment_params(rotation=10.0)}])
def test_another_order_dropout_or_distortion_gives_other_bits(device: torch.device, change: dict[str, Any]) -> None:
    """The twin of the test above: all three are at work."""
    assert outcome(training_on(device, **(LIVELY | change))) != uninterrupted("float32", device)


def taught(augment: AugmentParams) -> Teaching:
    lesson = Lesson(
        augment=augment, seed=0, dataset="blobs", data_digest="d" * 64, teachers=["a" * 64], precision="float32"
    )
    logits_VNK = 3.0 * torch.randn((2, len(TRAIN.labels_N), 10), generator=torch.Generator().manual_seed(0))
    return Teaching(lesson, logits_VNK.log_softmax(dim=2).half())


TRAININGS: dict[str, dict[str, Any]] = {
    "float32": LIVELY,
    "bfloat16": LIVELY | {"precision": "bfloat16"},
    "reference": LIVELY | {"name": "reference"},
    "hard": LIVELY | {"epochs": 4, "hard": hard_params(share=0.25, random=0.25)},
    "taught": LIVELY | {"teaching": taught(LIVELY["augment"]), "distillation": 0.7},
}


@functools.cache
def uninterrupted(kind: str, device: torch.device) -> bytes:
    return outcome(training_on(device, **TRAININGS[kind]))


@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize(("step", "event"), [(3, Stepped), (5, EpochEnded), (8, Stepped)])
def test_training_goes_on_from_a_snapshot_to_the_same_bits(
    device: torch.device, kind: str, step: int, event: type[Stepped | EpochEnded]
) -> None:
    run = training_on(device, **TRAININGS[kind])
    run.restore(stopped_after(step, training_on(device, **TRAININGS[kind]), event))
    assert run.step == step
    assert outcome(run) == uninterrupted(kind, device)


@pytest.mark.parametrize("part", ["order", "distortion", "dropout", "right", "model/", "average/", "adamw/"])
def test_going_on_without_a_part_of_the_snapshot_gives_other_bits(device: torch.device, part: str) -> None:
    """The twin of the test above."""
    run, state = training_on(device, **LIVELY), stopped_after(8, training_on(device, **LIVELY))
    fresh = training_on(device, **LIVELY).capture().tensors
    mixed = {name: fresh[name] if name.startswith(part) else tensor for name, tensor in state.tensors.items()}
    run.restore(replace(state, tensors=mixed))
    assert outcome(run) != uninterrupted("float32", device)


class Elsewhere(torch.Tensor):
    """A stand-in for a tensor on a GPU: ones that turn into threes if asked to come to the CPU."""

    device = torch.device("cuda")

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return torch.full(self.shape, 3.0)


def elsewhere() -> Tensor:
    return torch.ones(2).as_subclass(Elsewhere)


def test_state_fits_a_training_whatever_the_device() -> None:
    """A snapshot is read on the CPU and compared with what lives on a GPU."""
    assert kind_of(elsewhere()) == kind_of(torch.ones(2)) == "float32 (2,)"
    assert kind_of(elsewhere()) != kind_of(torch.ones(3))


def test_checkpoint_brings_its_tensors_to_the_cpu_whatever_the_device() -> None:
    row = EpochRow(epoch=1, train_loss=0.5, val_loss=None, train_accuracy=0.9, val_accuracy=None, lr=1e-3)
    content = checkpoint_bytes(
        model_state={"w": elsewhere()},
        raw_model_state={"w": elsewhere()},
        optimizer_state={"state": {0: {"exp_avg": elsewhere()}}},
        history=[row],
        about={},
    )
    read = torch.load(io.BytesIO(content), weights_only=True)
    moments = read["optimizer_state_dict"]["state"][0]
    for tensor in (read["model_state_dict"]["w"], read["raw_model_state_dict"]["w"], moments["exp_avg"]):
        assert torch.equal(tensor, torch.full((2,), 3.0))


def test_state_of_another_device_is_refused_in_words(device: torch.device) -> None:
    """The generators of a CPU and of a GPU hold other things; here another device is one with a longer state."""
    run, state = training_on(device), training_on(device).capture()
    foreign = torch.cat([state.tensors["dropout"]] * 2)
    with pytest.raises(ArtifactError, match=r"snapshot: tensor dropout: got uint8 \(\d+,\), expected uint8 \(\d+,\)"):
        run.restore(replace(state, tensors=dict(state.tensors) | {"dropout": foreign}))


def follow(run: Training, ended: list[EpochEnded]) -> None:
    """Note each epoch that ends, up to an error."""
    ended.extend(event for event in run.events() if isinstance(event, EpochEnded))


@pytest.mark.parametrize("step", [1, 3, 5, 10])
def test_divergence_is_noticed_by_the_end_of_the_epoch_and_before_a_snapshot(device: torch.device, step: int) -> None:
    """On the CPU at once; a GPU is asked only where it has to be waited for anyway."""
    run = training_on(device)
    weight = next(run._job.model.parameters())
    weight.register_hook(lambda gradient: gradient * (math.nan if run.step == step - 1 else 1.0))  # type: ignore[no-untyped-call]
    ended: list[EpochEnded] = []
    with pytest.raises(DivergedError, match=r"^training diverged: step \d+ of 10: got a loss or gradient that is "):
        follow(run, ended)
    assert len(ended) == (step - 1) // 5
    with pytest.raises(DivergedError):
        run.capture()


def test_training_whose_gradients_stay_finite_ends(device: torch.device) -> None:
    """The twin of the test above."""
    run = training_on(device)
    weight = next(run._job.model.parameters())
    weight.register_hook(lambda gradient: gradient * 1.0)  # type: ignore[no-untyped-call]
    ended: list[EpochEnded] = []
    follow(run, ended)
    assert len(ended) == 2
    run.capture()


def distorted_on(device: torch.device, seed: int = 0) -> Tensor:
    """All images under distortions that were drawn on the CPU."""
    drawn = Distortions.draw(len(TRAIN.labels_N), LIVELY["augment"], generator(seed, "distortion"))
    assert drawn is not None
    assert drawn.elastic_N2GG is not None
    digits = Digits.on(device, TRAIN)
    images_N1HW, _ = digits.batch(torch.arange(len(digits), device=device))
    there = Distortions(drawn.affine_N23.to(device), drawn.elastic_N2GG.to(device))
    return distort(images_N1HW, there).cpu()


def test_same_distortions_give_the_same_images_as_on_the_cpu(device: torch.device) -> None:
    torch.testing.assert_close(distorted_on(device), distorted_on(CPU), atol=1e-4, rtol=0.0)
    assert not torch.allclose(distorted_on(device, seed=1), distorted_on(CPU), atol=0.1)


def test_distortions_are_drawn_on_the_device_from_its_own_generator(device: torch.device) -> None:
    def drawn(seed: int) -> Tensor:
        distortions = Distortions.draw(500, params().train.augment, generator(seed, "distortion", device))
        assert distortions is not None
        return distortions.affine_N23

    assert drawn(0).device.type == device.type
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))

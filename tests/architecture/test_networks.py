"""What every registered network promises, present and future."""

from __future__ import annotations

import pytest
import torch
from helpers import blobs
from torch import Tensor, nn

from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.describe import describe, parameter_count
from mnist_dvc.errors import ParamsError
from mnist_dvc.model import BUDGET, NETWORKS, TEACHERS, build
from mnist_dvc.model.blocks import Dropout, set_dropout_generator
from mnist_dvc.params import ModelParams

DROPOUT = 0.3
DIGITS = Digits.on(torch.device("cpu"), blobs(4))

every_network = pytest.mark.parametrize("name", [*NETWORKS, *TEACHERS])
"""Teachers promise all that the networks do, but for the budget."""


def made(name: str, *, dropout: float = DROPOUT) -> nn.Module:
    model = build(ModelParams(name=name, dropout=dropout), torch.Generator().manual_seed(0), NETWORKS | TEACHERS)
    set_dropout_generator(model, torch.Generator().manual_seed(0))
    return model


def images(n: int) -> Tensor:
    return normalise(DIGITS.batch(torch.arange(n))[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_budget_holds(name: str) -> None:
    assert parameter_count(made(name)) < BUDGET == 20_000


def test_teacher_is_beyond_the_budget_and_no_network() -> None:
    """The twin of the test above: there is something that the budget keeps out."""
    assert TEACHERS.keys() == {"teacher"}
    assert parameter_count(made("teacher")) == 217_322 > BUDGET
    with pytest.raises(ParamsError, match="model.name: got 'teacher', expected one of reference, compact"):
        build(ModelParams(name="teacher", dropout=0.0), torch.Generator())
    with pytest.raises(ParamsError, match="model.name: got 'compact', expected one of teacher$"):
        build(ModelParams(name="compact", dropout=0.0), torch.Generator(), TEACHERS)


REFERENCE = {  # design of the network, row by row: weights and biases of convolutions and linear layers, then norms
    "convblock1": 144 + 32,
    "se1": 544 + 272,
    "convblock2": 144 + 32 + 256 + 32,
    "transition1": 320 + 40 + 480 + 48,
    "convblock3": 216 + 48 + 672 + 56,
    "se2": 1_624 + 812,
    "convblock4": 252 + 56 + 784 + 56,
    "transition2": 896 + 64 + 1_024 + 64,
    "convblock5": 288 + 64 + 1_152 + 72,
    "se3": 2_664 + 1_332,
    "convblock6": 324 + 72 + 1_440 + 80,
    "convblock7": 360 + 80 + 1_920 + 96,
    "convblock8": 480,
}


def test_reference_has_exactly_its_parameters() -> None:
    description = describe("reference", made("reference"))
    assert description.total == sum(REFERENCE.values()) == 19_392
    assert {layer.name: layer.parameters for layer in description.layers} == REFERENCE


def test_compact_has_exactly_its_parameters() -> None:
    assert parameter_count(made("compact")) == 19_706


NAMED = {"compact-1k": 1_000, "compact-2k5": 2_500, "compact-5k": 5_000, "compact-10k": 10_000}


def fills(parameters: int, size: int) -> bool:
    """Whether a network lives up to the number in its name: below it, and not by much."""
    return 0.85 * size <= parameters < size


@pytest.mark.parametrize("name", NAMED)
def test_smaller_network_is_just_below_the_number_in_its_name(name: str) -> None:
    assert fills(parameter_count(made(name)), NAMED[name])


def test_the_check_of_sizes_can_fail_and_leaves_no_size_out() -> None:
    assert [fills(parameters, 1_000) for parameters in (849, 850, 999, 1_000)] == [False, True, True, False]
    assert {name for name in NETWORKS if name.startswith("compact-")} == NAMED.keys()


def test_reference_keeps_the_rules_of_its_table() -> None:
    model = made("reference")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(module.bias is None for module in convolutions)
    assert all(module.bias is not None for module in model.modules() if isinstance(module, nn.Linear))
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert norms == len(convolutions) - 1  # every one but the classifier
    shapes = {layer.name: layer.output_shape for layer in describe("reference", model).layers}
    assert shapes["convblock2"][0] == 16
    assert [shapes[f"transition{i}"][0] for i in (1, 2)] == [24, 32]


@every_network
@pytest.mark.parametrize("n", [1, 2, 3, 7, 33])
def test_odd_batches_give_logits_of_their_size(name: str, n: int) -> None:
    logits_NK = made(name).eval()(images(n))
    assert logits_NK.shape == (n, 10)
    assert logits_NK.dtype == torch.float32
    assert torch.isfinite(logits_NK).all()


@every_network
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_does_not_change_the_answer(name: str, layout: torch.memory_format) -> None:
    model = made(name).eval()
    expected_NK = model(images(8))
    torch.testing.assert_close(model.to(memory_format=layout)(images(8)), expected_NK, atol=1e-5, rtol=1e-4)


def without_gradient(model: nn.Module) -> list[str]:
    loss = nn.functional.cross_entropy(model.train()(images(40)), DIGITS.labels_N[:40])
    loss.backward()  # type: ignore[no-untyped-call]
    return [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


@every_network
def test_every_parameter_gets_a_gradient(name: str) -> None:
    assert without_gradient(made(name)) == []


def test_gradient_check_finds_an_idle_parameter() -> None:
    model = made("compact")
    model.register_parameter("idle", nn.Parameter(torch.ones(1)))
    assert without_gradient(model) == ["idle"]


@every_network
def test_one_batch_can_be_learned_by_heart(name: str) -> None:
    model = made(name, dropout=0.0).train()
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.randint(10, (32,), generator=generator)  # nothing to generalise: labels at random
    adamw = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(images(32)), labels_N)
        adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adamw.step()
    assert float(loss.detach()) < 0.1
    assert torch.equal(model(images(32)).argmax(dim=1), labels_N)


@every_network
def test_evaluation_is_deterministic_and_deaf_to_batch_mates(name: str) -> None:
    model = made(name).eval()
    together_NK = model(images(8))
    assert torch.equal(model(images(8)), together_NK)
    alone_NK = torch.cat([model(images(8)[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone_NK, together_NK, atol=1e-5, rtol=1e-4)


@every_network
def test_training_mode_does_hear_batch_mates(name: str) -> None:
    """The twin of the test above: with the norms at work, the company matters."""
    model = made(name, dropout=0.0).train()
    assert not torch.allclose(model(images(8))[:4], model(images(4)), atol=1e-3)


@every_network
def test_norms_are_there_and_learn_the_statistics_of_the_data(name: str) -> None:
    model = made(name)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]  # type: ignore[union-attr]
    model.train()(images(40))
    for norm, (mean, variance) in zip(norms, before, strict=True):
        assert not torch.equal(norm.running_mean, mean)  # type: ignore[arg-type]
        assert not torch.equal(norm.running_var, variance)  # type: ignore[arg-type]
    frozen = [norm.running_mean.clone() for norm in norms]  # type: ignore[union-attr]
    model.eval()(images(40))
    assert all(torch.equal(norm.running_mean, kept) for norm, kept in zip(norms, frozen, strict=True))  # type: ignore[arg-type]


@every_network
def test_norms_bring_their_input_to_mean_0_and_deviation_1(name: str) -> None:
    model = made(name).train()
    seen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach().clone()))
    model(images(40))
    for output_NCHW in seen:
        mean_C = output_NCHW.mean(dim=(0, 2, 3))
        deviation_C = output_NCHW.std(dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean_C, torch.zeros_like(mean_C), atol=1e-3, rtol=0.0)
        assert float(deviation_C.max()) < 1.01
        assert float(deviation_C.median()) > 0.9  # a channel that is constant on blobs stays below 1


@every_network
def test_dropout_is_there_and_acts_in_training_only(name: str) -> None:
    model = made(name)
    (dropout,) = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert isinstance(dropout, Dropout)
    assert dropout.p == DROPOUT
    zeros: list[float] = []
    dropout.register_forward_hook(
        lambda _module, inputs, output: zeros.append(float((output[inputs[0] != 0] == 0).float().mean()))
    )
    model.train()(images(40))
    model.eval()(images(40))
    in_training, in_evaluation = zeros
    assert 0.2 < in_training < 0.4
    assert in_evaluation == 0.0


@every_network
def test_save_and_load_keeps_the_answers(name: str) -> None:
    model, other = made(name).eval(), made(name).eval()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(images(8)), model(images(8)))

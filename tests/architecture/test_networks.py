"""What every registered network promises, present and future, on the device that ``--device`` names.

Each failure says what its author can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from helpers import blobs
from torch import Tensor, nn

from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.describe import describe, parameter_count
from mnist_dvc.description import BUDGET
from mnist_dvc.errors import ParamsError
from mnist_dvc.model import NETWORKS, TEACHERS, build
from mnist_dvc.model.blocks import Dropout, set_dropout_generator
from mnist_dvc.model.tiny import SampleNorm
from mnist_dvc.params import ModelParams

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("_as_a_stage")

DROPOUT = 0.3
CPU = torch.device("cpu")

every_network = pytest.mark.parametrize("name", [*NETWORKS, *TEACHERS])
"""Teachers promise all that the networks do, but for the budget."""


def made(name: str, device: torch.device, *, dropout: float = DROPOUT) -> nn.Module:
    """The network on ``device``, with the same weights on any."""
    try:
        model = build(ModelParams(name=name, dropout=dropout), torch.Generator().manual_seed(0), NETWORKS | TEACHERS)
    except TypeError as error:
        pytest.fail(f"{name}: got {error}, expected a class that takes the dropout probability and nothing else")
    set_dropout_generator(model, torch.Generator(device).manual_seed(0))
    return model.to(device)


def batch(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first of forty images as input of a network, with their labels."""
    images_N1HW, labels_N = Digits.on(device, blobs(4)).batch(torch.arange(n, device=device))
    return normalise(images_N1HW), labels_N


def images(n: int, device: torch.device) -> Tensor:
    return batch(n, device)[0]


def told(words: str) -> Callable[[str], str]:
    """For what torch compares: our words before its numbers."""
    return lambda numbers: f"{words}\n{numbers}"


@pytest.mark.parametrize("name", NETWORKS)
def test_budget_holds(name: str, device: torch.device) -> None:
    count = parameter_count(made(name, device))
    assert count < BUDGET == 20_000, f"{name}: got {count:,} parameters, expected fewer than {BUDGET:,}: narrow a layer"


def test_teacher_is_beyond_the_budget_and_no_network() -> None:
    """The twin of the test above: there is something that the budget keeps out."""
    assert TEACHERS.keys() == {"teacher"}
    assert parameter_count(made("teacher", CPU)) == 217_322 > BUDGET
    with pytest.raises(ParamsError, match=f"model.name: got 'teacher', expected one of {', '.join(NETWORKS)}$"):
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
    description = describe("reference", made("reference", CPU))
    assert description.total == sum(REFERENCE.values()) == 19_392
    assert {layer.name: layer.parameters for layer in description.layers} == REFERENCE


def test_compact_has_exactly_its_parameters() -> None:
    assert parameter_count(made("compact", CPU)) == 19_706


NAMED = {"compact-1k": 1_000, "compact-2k5": 2_500, "compact-5k": 5_000, "compact-10k": 10_000}


def fills(parameters: int, size: int) -> bool:
    """Whether a network lives up to the number in its name: below it, and not by much."""
    return 0.85 * size <= parameters < size


@pytest.mark.parametrize("name", NAMED)
def test_smaller_network_is_just_below_the_number_in_its_name(name: str) -> None:
    assert fills(parameter_count(made(name, CPU)), NAMED[name])


def test_the_check_of_sizes_can_fail_and_leaves_no_size_out() -> None:
    assert [fills(parameters, 1_000) for parameters in (849, 850, 999, 1_000)] == [False, True, True, False]
    assert {name for name in NETWORKS if name.startswith("compact-")} == NAMED.keys()


def test_reference_keeps_the_rules_of_its_table() -> None:
    model = made("reference", CPU)
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
def test_odd_batches_give_logits_of_their_size(name: str, n: int, device: torch.device) -> None:
    try:
        logits_NK = made(name, device).eval()(images(n, device))
    except (RuntimeError, ValueError) as error:
        pytest.fail(f"{name}: got {error}, expected a network that maps images (N, 1, 28, 28) to logits (N, 10)")
    shape = tuple(logits_NK.shape)
    assert shape == (n, 10), (
        f"{name}: got logits of shape {shape}, expected {(n, 10)}, one of each class for each image"
    )
    assert logits_NK.dtype == torch.float32, f"{name}: got {logits_NK.dtype}, expected float32 logits"
    where = logits_NK.device.type
    assert where == device.type, f"{name}: got logits on {where}, expected them on {device.type}, with the images"
    assert torch.isfinite(logits_NK).all(), f"{name}: got infinite logits or NaN, expected numbers before any training"


@every_network
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_does_not_change_the_answer(name: str, layout: torch.memory_format, device: torch.device) -> None:
    model = made(name, device).eval()
    expected_NK = model(images(8, device))
    words = f"{name}: got other logits in {layout}, expected the same in any layout: say flatten() in place of view()"
    logits_NK = model.to(memory_format=layout)(images(8, device).contiguous(memory_format=layout))
    torch.testing.assert_close(logits_NK, expected_NK, atol=1e-5, rtol=1e-4, msg=told(words))


def without_gradient(model: nn.Module, device: torch.device) -> list[str]:
    images_N1HW, labels_N = batch(40, device)
    loss = nn.functional.cross_entropy(model.train()(images_N1HW), labels_N)
    loss.backward()  # type: ignore[no-untyped-call]
    return [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]


@every_network
def test_every_parameter_gets_a_gradient(name: str, device: torch.device) -> None:
    idle = without_gradient(made(name, device), device)
    assert idle == [], (
        f"{name}: got no gradient for {', '.join(idle)}, expected use for every parameter: remove the others"
    )


def test_gradient_check_finds_an_idle_parameter(device: torch.device) -> None:
    model = made("compact", device)
    model.register_parameter("idle", nn.Parameter(torch.ones(1, device=device)))
    assert without_gradient(model, device) == ["idle"]


FEW = 700
"""Parameters: so few of them take longer to learn 32 labels drawn at random, for which a network has no rule."""


@pytest.mark.architecture
@every_network
def test_one_batch_can_be_learned_by_heart(name: str, device: torch.device) -> None:
    model = made(name, device, dropout=0.0).train()
    drawn = torch.randint(10, (32,), generator=torch.Generator().manual_seed(0))
    images_N1HW, labels_N = images(32, device), drawn.to(device)  # nothing to generalise: labels at random
    adamw = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    steps = 100 if parameter_count(model) > FEW else 400
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(images_N1HW), labels_N)
        adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adamw.step()
    reached = float(loss.detach())
    words = f"{name}: got a loss of {reached:.2f} on 32 images after {steps} steps, expected them by heart, below 0.1"
    assert reached < 0.1, words
    assert torch.equal(model(images_N1HW).argmax(dim=1), labels_N), words


@every_network
def test_evaluation_is_deterministic_and_deaf_to_batch_mates(name: str, device: torch.device) -> None:
    model = made(name, device).eval()
    together_NK = model(images(8, device))
    again_NK = model(images(8, device))
    assert torch.equal(again_NK, together_NK), f"{name}: got other logits the second time, expected no chance in eval()"
    alone_NK = torch.cat([model(images(8, device)[i : i + 1]) for i in range(8)])
    words = f"{name}: got other logits for an image alone, expected no word of its batch in eval()"
    torch.testing.assert_close(alone_NK, together_NK, atol=1e-5, rtol=1e-4, msg=told(words))


@every_network
def test_training_mode_hears_batch_mates_where_norms_are_of_the_batch(name: str, device: torch.device) -> None:
    """The twin of the test above: with those norms at work, the company matters."""
    model = made(name, device, dropout=0.0).train()
    same = torch.allclose(model(images(8, device))[:4], model(images(4, device)), atol=1e-3)
    told_by_norms = all(isinstance(norm, SampleNorm) for norm in norms_of(name, model))
    words = "logits that no batch mate changes" if same else "logits that batch mates change"
    assert same == told_by_norms, f"{name}: got {words} in training, expected what its norms are of: {NORMS}"


NORMS = "conv_bn() of mnist_dvc.model.blocks makes a convolution and its norm"


def norms_of(name: str, model: nn.Module) -> list[nn.BatchNorm2d | SampleNorm]:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d | SampleNorm)]
    expected = f"one after each convolution but the last, or SampleNorm of mnist_dvc.model.tiny: {NORMS}"
    assert norms, f"{name}: got no nn.BatchNorm2d, expected {expected}"
    return norms


def test_network_without_norms_is_told_where_to_find_them() -> None:
    with pytest.raises(AssertionError, match="third: got no nn.BatchNorm2d, .*: conv_bn"):
        norms_of("third", nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)))


@every_network
def test_norms_are_there_and_learn_the_statistics_of_the_data(name: str, device: torch.device) -> None:
    model = made(name, device)
    norms = [norm for norm in norms_of(name, model) if isinstance(norm, nn.BatchNorm2d)]
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]  # type: ignore[union-attr]
    model.train()(images(40, device))
    for norm, (mean, variance) in zip(norms, before, strict=True):
        words = f"{name}: got a norm of {norm.num_features} channels that learns no statistics in training"
        assert not torch.equal(norm.running_mean, mean), words  # type: ignore[arg-type]
        assert not torch.equal(norm.running_var, variance), words  # type: ignore[arg-type]
    frozen = [norm.running_mean.clone() for norm in norms]  # type: ignore[union-attr]
    model.eval()(images(40, device))
    still = all(torch.equal(norm.running_mean, kept) for norm, kept in zip(norms, frozen, strict=True))  # type: ignore[arg-type]
    assert still, f"{name}: got statistics that images change in eval(), expected them to stay"


@every_network
def test_norms_bring_their_input_to_mean_0_and_deviation_1(name: str, device: torch.device) -> None:
    model = made(name, device).train()
    seen: list[tuple[tuple[int, ...], Tensor]] = []
    for norm in norms_of(name, model):
        axes = (1, 2, 3) if isinstance(norm, SampleNorm) else (0, 2, 3)
        norm.register_forward_hook(
            lambda _module, _inputs, output, axes=axes: seen.append((axes, output.detach().clone()))
        )
    model(images(40, device))
    for over, output_NCHW in seen:
        mean, deviation = output_NCHW.mean(dim=over), output_NCHW.std(dim=over, correction=0)
        words = f"{name}: got a norm whose output is not of mean 0 and deviation 1 over the axes {over}"
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0.0, msg=told(words))
        assert float(deviation.max()) < 1.01, words
        assert float(deviation.median()) > 0.9, words  # a channel that is constant on blobs stays below 1


ANY_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
OURS = (
    "Dropout of mnist_dvc.model.blocks: it draws from the training's own generator, torch's from that of the process, "
    "with which no training can be repeated, or gone on with after a stop, to the same bits"
)


def dropout_of(name: str, model: nn.Module) -> Dropout:
    found = [module for module in model.modules() if isinstance(module, ANY_DROPOUT)]
    foreign = sorted({f"torch's {type(module).__name__}" for module in found if not isinstance(module, Dropout)})
    assert not foreign, f"{name}: got {', '.join(foreign)}, expected {OURS}"
    ours = [module for module in found if isinstance(module, Dropout)]
    where = "expected one, before the classifier, where model.dropout of params.yaml acts"
    assert len(ours) == 1, f"{name}: got {len(ours)} dropouts, {where}: {OURS}"
    return ours[0]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "third: got 0 dropouts, expected one, before the classifier"),
        ([Dropout(0.1), Dropout(0.1)], "third: got 2 dropouts, expected one"),
        ([nn.Dropout(0.1)], "third: got torch's Dropout, expected Dropout of mnist_dvc.model.blocks"),
        ([Dropout(0.1), nn.Dropout2d(0.1)], "third: got torch's Dropout2d, expected Dropout of mnist_dvc.model.blocks"),
    ],
    ids=["none", "two", "foreign", "foreign beside ours"],
)
def test_network_without_our_dropout_is_told_where_to_find_it(layers: list[nn.Module], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        dropout_of("third", nn.Sequential(*layers))


@every_network
def test_dropout_is_there_and_acts_in_training_only(name: str, device: torch.device) -> None:
    model = made(name, device)
    dropout = dropout_of(name, model)
    assert dropout.p == DROPOUT, f"{name}: got a dropout of {dropout.p}, expected the probability that it was made with"
    zeros: list[float] = []
    dropout.register_forward_hook(
        lambda _module, inputs, output: zeros.append(float((output[inputs[0] != 0] == 0).float().mean()))
    )
    model.train()(images(40, device))
    model.eval()(images(40, device))
    assert len(zeros) == 2, f"{name}: got {len(zeros)} uses of its dropout in two passes, expected 2"
    in_training, in_evaluation = zeros
    assert 0.2 < in_training < 0.4, f"{name}: got {in_training:.0%} of the features dropped, expected {DROPOUT:.0%}"
    assert in_evaluation == 0.0, f"{name}: got {in_evaluation:.0%} of the features dropped in eval(), expected none"


@every_network
def test_save_and_load_keeps_the_answers(name: str, device: torch.device) -> None:
    model, other = made(name, device).eval(), made(name, device).eval()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(model.state_dict(), strict=True)
    same = torch.equal(other(images(8, device)), model(images(8, device)))
    assert same, f"{name}: got other logits from the same state_dict(), expected all that decides them in there"

"""The optimiser, its schedule, and the running average of the weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from mnist_dvc.params import TrainParams

__all__ = ["AdamW", "Average", "learning_rate"]

BETAS = (0.9, 0.99)
EPSILON = 1e-8
_TORCH_DEFAULTS: dict[str, Any] = {
    "betas": BETAS,
    "eps": EPSILON,
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": True,
    "decoupled_weight_decay": True,
}
"""What a group of ``torch.optim.AdamW`` holds beside rate, decay and parameters."""
START_DIVISOR = 10.0
END_DIVISOR = 10_000.0
EMA_WARMUP = 10


class AdamW:
    """AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101) that decays matrices and filters only.

    Biases and BatchNorm, the tensors of one axis, are left alone: pulling a scale towards 0 is no regulariser. The
    steps are those of ``torch.optim.AdamW``, taken through its functional form: an object of that class imports the
    compiler, which costs a second and 150 MB.
    """

    def __init__(self, model: nn.Module, params: TrainParams) -> None:
        """For the trainable parameters of ``model``, which stay where they are."""
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._groups = (
            _Group.of([item for item in named if item[1].ndim > 1], params.weight_decay),
            _Group.of([item for item in named if item[1].ndim <= 1], 0.0),
        )
        self.rate = params.learning_rate

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter against its gradient at the rate ``rate``."""
        for group in self._groups:
            adamw(
                list(group.parameters),
                [parameter.grad for parameter in group.parameters if parameter.grad is not None],
                group.moments["exp_avg"],
                group.moments["exp_avg_sq"],
                [],
                group.moments["step"],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.rate,
                weight_decay=group.weight_decay,
                eps=EPSILON,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.grad = None

    def moments(self) -> dict[str, Tensor]:
        """What the steps so far have left, as ``moment/parameter`` names; the tensors change with the next step."""
        return {
            f"{key}/{name}": tensors[i]
            for group in self._groups
            for i, name in enumerate(group.names)
            for key, tensors in group.moments.items()
        }

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`moments` gave for an equal model."""
        for name, tensor in self.moments().items():
            tensor.copy_(moments[name])

    def state_dict(self) -> dict[str, Any]:
        """The state as ``torch.optim.AdamW`` has it and takes it."""
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        for group in self._groups:
            numbers = range(len(state), len(state) + len(group.names))
            state |= {n: {key: tensors[i] for key, tensors in group.moments.items()} for i, n in enumerate(numbers)}
            told = {"lr": self.rate, "weight_decay": group.weight_decay, "params": list(numbers)}
            groups.append(_TORCH_DEFAULTS | told)
        return {"state": state, "param_groups": groups}


@dataclass(frozen=True, slots=True)
class _Group:
    """Parameters of one weight decay, and their moments in the same order and memory layout."""

    names: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]
    weight_decay: float
    moments: dict[str, list[Tensor]]

    @classmethod
    def of(cls, named: list[tuple[str, nn.Parameter]], weight_decay: float) -> _Group:
        parameters = tuple(parameter for _, parameter in named)
        moments = {
            "step": [torch.zeros((), device=parameter.device) for parameter in parameters],
            "exp_avg": [torch.zeros_like(parameter.detach()) for parameter in parameters],
            "exp_avg_sq": [torch.zeros_like(parameter.detach()) for parameter in parameters],
        }
        return cls(tuple(name for name, _ in named), parameters, weight_decay, moments)


def learning_rate(step: int, steps: int, params: TrainParams) -> float:
    """The rate of step ``step`` (0 is the first) of ``steps``: a pure function, so there is no state to keep.

    ``onecycle`` rises along a cosine from a tenth of the peak and falls along one to a hundred-thousandth of it
    (Smith and Topin, https://arxiv.org/abs/1708.07120, as in ``torch.optim.lr_scheduler.OneCycleLR``). ``cosine`` rises
    along a line and falls along a cosine to 0 (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, one period).
    """
    peak = params.learning_rate
    if params.schedule == "cosine":
        rising = params.warmup * steps
        if step < rising:
            return peak * (step + 1) / (rising + 1)
        return _cosine(peak, 0.0, (step - rising) / (steps - rising))
    start = peak / START_DIVISOR
    top = params.warmup * steps - 1
    if step < top:
        return _cosine(start, peak, step / top)
    return _cosine(peak, start / END_DIVISOR, (step - top) / (steps - 1 - top) if steps - 1 > top else 1.0)


def _cosine(start: float, end: float, fraction: float) -> float:
    """From ``start`` at 0 to ``end`` at 1 along half a cosine."""
    return end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0


class Average:
    """A running average of a model's weights and BatchNorm statistics, updated after every step.

    The decay rises as (1 + t) / (10 + t) up to ``decay``, so that the random first weights are soon forgotten; the
    same warm-up as in TensorFlow's ``ExponentialMovingAverage``. ``torch.optim.swa_utils.AveragedModel`` does the same
    and asks the device for its count at every step, which a GPU has to be stopped for.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """``decay`` is per step, in [0, 1); the average starts as a copy of ``model``."""
        self.model = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self._decay = decay
        self._floats = [i for i, tensor in enumerate(_state_of(model)) if tensor.is_floating_point()]
        self._counts = [i for i, tensor in enumerate(_state_of(model)) if not tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model`` after step ``step`` (0 is the first, which the average takes as it is)."""
        averages, current = _state_of(self.model), _state_of(model)
        weight = 1.0 if step == 0 else 1.0 - min(self._decay, (1.0 + step) / (EMA_WARMUP + step))
        torch._foreach_lerp_([averages[i] for i in self._floats], [current[i] for i in self._floats], weight)
        if self._counts:  # BatchNorm's batches, in networks that have it
            torch._foreach_copy_([averages[i] for i in self._counts], [current[i] for i in self._counts])


def _state_of(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]

"""The optimiser, its schedule, and the running average of the weights."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from mnist_dvc.params import TrainParams

__all__ = ["Average", "learning_rate", "moments", "optimizer", "restore_moments", "set_learning_rate"]

BETAS = (0.9, 0.99)
START_DIVISOR = 10.0
END_DIVISOR = 10_000.0
EMA_WARMUP = 10


def optimizer(model: nn.Module, params: TrainParams) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101) that decays matrices and filters only.

    Biases and BatchNorm, the tensors of one axis, are left alone: pulling a scale towards 0 is no regulariser.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": params.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=BETAS, fused=True)


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


def set_learning_rate(adamw: torch.optim.Optimizer, rate: float) -> None:
    """Make ``rate`` the learning rate of every group of ``adamw``."""
    for group in adamw.param_groups:
        group["lr"] = rate


def moments(adamw: torch.optim.AdamW, model: nn.Module) -> dict[str, Tensor]:
    """AdamW's own state as ``moment/parameter`` names; zeros where no step was done yet."""
    return {
        f"{key}/{name}": tensor
        for name, parameter in _in_order(adamw, model)
        for key, tensor in (adamw.state.get(parameter) or _no_moments(parameter)).items()
    }


def restore_moments(adamw: torch.optim.AdamW, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what :func:`moments` gave for an equal model.

    Each tensor gets the memory layout of its parameter, which the fused kernel takes for granted.
    """
    for name, parameter in _in_order(adamw, model):
        fresh = _no_moments(parameter)
        adamw.state[parameter] = {key: tensor.copy_(state[f"{key}/{name}"]) for key, tensor in fresh.items()}


def _in_order(adamw: torch.optim.AdamW, model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters in the order in which AdamW keeps their state, which shows in its published bytes."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [(names[parameter], parameter) for group in adamw.param_groups for parameter in group["params"]]


def _no_moments(parameter: nn.Parameter) -> dict[str, Tensor]:
    """What fused AdamW makes of a parameter at its first step."""
    data = parameter.detach()
    return {
        "step": torch.zeros((), dtype=torch.float32, device=data.device),
        "exp_avg": torch.zeros_like(data, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(data, memory_format=torch.preserve_format),
    }


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

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model`` after step ``step`` (0 is the first, which the average takes as it is)."""
        averages, current = _state_of(self.model), _state_of(model)
        weight = 1.0 if step == 0 else 1.0 - min(self._decay, (1.0 + step) / (EMA_WARMUP + step))
        floats = [i for i, tensor in enumerate(averages) if tensor.is_floating_point()]
        torch._foreach_lerp_([averages[i] for i in floats], [current[i] for i in floats], weight)
        counts = [i for i, tensor in enumerate(averages) if not tensor.is_floating_point()]  # BatchNorm's batches
        torch._foreach_copy_([averages[i] for i in counts], [current[i] for i in counts])


def _state_of(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]

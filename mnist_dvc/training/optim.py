"""The optimiser, its schedule, and the running average of the weights."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.adamw import adamw

from mnist_dvc.training.flat import Flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

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
CLIP_EPSILON = 1e-6
"""Added to a norm before it divides, as in ``torch.nn.utils.clip_grad_norm_``."""


class AdamW:
    """AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101) that decays matrices and filters only.

    Biases and BatchNorm, the tensors of one axis, are left alone: pulling a scale towards 0 is no regulariser. The
    steps are those of ``torch.optim.AdamW``, taken through its functional form: an object of that class imports the
    compiler, which costs a second and 150 MB. Parameters, gradients and moments are each one flat tensor.
    """

    def __init__(self, model: nn.Module, flat: Flat, params: TrainParams) -> None:
        """For the parameters of ``model``, which live in ``flat``; their gradients become views of one tensor, too."""
        named = dict(model.named_parameters())
        decayed = flat.end_of([name for name, parameter in named.items() if parameter.ndim > 1])
        end = flat.end_of(list(named))
        self._named = named
        self._weight_decay = params.weight_decay
        self._parts = [part for part in (slice(0, decayed), slice(decayed, end)) if part.stop > part.start]
        self._decays = [params.weight_decay if part.start < decayed else 0.0 for part in self._parts]
        self._parameters = flat.whole[:end]
        self.gradient, self._mean, self._square = (torch.zeros_like(self._parameters) for _ in range(3))
        self._step = torch.zeros((), device=flat.whole.device)
        self._means, self._squares = flat.views_of(self._mean), flat.views_of(self._square)
        for name, gradient in flat.views_of(self.gradient).items():
            named[name].grad = gradient
        self.rate = params.learning_rate

    def zero_grad(self) -> None:
        """Forget the gradients, which a backward pass adds to."""
        self.gradient.zero_()

    @torch.no_grad()
    def clip(self, largest: float) -> Tensor:
        """Scale the gradient down to the L2 norm ``largest`` if it is longer, and return the norm that it had."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((largest / (norm + CLIP_EPSILON)).clamp_(max=1.0))
        return norm

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter against its gradient at the rate ``rate``."""
        counts = [self._step] + [self._step.clone() for _ in self._parts[1:]]
        for part, count, weight_decay in zip(self._parts, counts, self._decays, strict=True):
            adamw(
                [self._parameters[part]],
                [self.gradient[part]],
                [self._mean[part]],
                [self._square[part]],
                [],
                [count],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.rate,
                weight_decay=weight_decay,
                eps=EPSILON,
                maximize=False,
            )

    def moments(self) -> dict[str, Tensor]:
        """What the steps so far have left, by names; the tensors change with the next step."""
        moments = {"step": self._step}
        moments |= {f"exp_avg/{name}": tensor for name, tensor in self._means.items()}
        return moments | {f"exp_avg_sq/{name}": tensor for name, tensor in self._squares.items()}

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`moments` gave for an equal model."""
        for name, tensor in self.moments().items():
            tensor.copy_(moments[name])

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state as ``torch.optim.AdamW`` has it and takes it, for the two groups of parameters."""
        decayed = [name for name, parameter in self._named.items() if parameter.ndim > 1]
        others = [name for name in self._named if name not in decayed]
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        for names, weight_decay in ((decayed, self._weight_decay), (others, 0.0)):
            numbers = range(len(state), len(state) + len(names))
            state |= {number: self._state_of(name) for number, name in zip(numbers, names, strict=True)}
            told = {"lr": self.rate, "weight_decay": weight_decay, "params": list(numbers)}
            groups.append(_TORCH_DEFAULTS | told)
        return {"state": state, "param_groups": groups}

    def _state_of(self, name: str) -> dict[str, Tensor]:
        held = {"step": self._step, "exp_avg": self._means[name], "exp_avg_sq": self._squares[name]}
        return {key: tensor.clone() for key, tensor in held.items()}


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
    """A running average of a model's parameters, updated after every step.

    The decay rises as (1 + t) / (10 + t) up to ``decay``, so that the random first weights are soon forgotten; the
    same warm-up as in TensorFlow's ``ExponentialMovingAverage``. ``torch.optim.swa_utils.AveragedModel`` does the same
    and asks the device for its count at every step, which a GPU has to be stopped for.

    The statistics of BatchNorm are not averaged: those of a step belong to weights that have moved on since, and a
    network of many layers that has just begun to learn gives chance answers with them. They are estimated whenever
    the average is asked for, from images, as Izmailov et al. do (https://arxiv.org/abs/1803.05407, section 3.2).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """``decay`` is per step, in [0, 1); the average starts as a copy of ``model``."""
        self.model = copy.deepcopy(model).requires_grad_(requires_grad=False).eval()
        flat = Flat.of(self.model)
        self._parameters = flat.whole[: flat.end_of([name for name, _ in model.named_parameters()])]
        self._decay = decay

    @torch.no_grad()
    def update(self, flat: Flat, step: int) -> None:
        """Move towards a model that lives in ``flat`` after step ``step``; 0, the first, is taken as it is."""
        weight = 1.0 if step == 0 else 1.0 - min(self._decay, (1.0 + step) / (EMA_WARMUP + step))
        self._parameters.lerp_(flat.whole[: len(self._parameters)], weight)

    @torch.no_grad()
    def estimate_statistics(self, batches: Iterable[Tensor]) -> None:
        """Set the statistics of every BatchNorm to the mean of what it sees of ``batches`` of network input."""
        norms = [module for module in self.model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # PyTorch's name for the mean of all batches
            norm.train()
        for images_N1HW in batches if norms else ():
            self.model(images_N1HW)
        self.model.eval()

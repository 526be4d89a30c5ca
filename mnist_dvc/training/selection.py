"""Which images an epoch learns from: all of them, or those that are still hard and some at random.

The loss of an image's newest distorted version, which a step computes anyway, tells whether there is more to learn from
it. Sources of the idea: Katharopoulos and Fleuret, https://arxiv.org/abs/1803.00942; Jiang et al., Selective-Backprop,
https://arxiv.org/abs/1910.00762; Mindermann et al., https://arxiv.org/abs/2206.07137, who measure a loss by what of it
can be removed, as is done here where teachers answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_dvc.params import TrainParams

__all__ = ["UNSEEN", "Newest", "Schedule"]

UNSEEN = -1.0
"""In place of the loss of an image that no step has seen; losses are 0 or more."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps each epoch takes, of whole batches of ``images`` training images; the first epoch is 0."""

    images: int
    params: TrainParams

    @property
    def _plain_epochs(self) -> int:
        hard, epochs = self.params.hard, self.params.epochs
        return epochs if hard.share == 1.0 else min(hard.plain_epochs, epochs)

    @property
    def _plain_steps(self) -> int:
        return self.images // self.params.batch_size

    @property
    def _hard_steps(self) -> int:
        """At least one, however few the images."""
        hard = self.params.hard
        taken = int(min(hard.share + hard.random, 1.0) * self.images)
        return max(taken // self.params.batch_size, 1)

    def is_plain(self, epoch: int) -> bool:
        """Whether ``epoch`` takes all images."""
        return epoch < self._plain_epochs

    def steps_in(self, epoch: int) -> int:
        """Steps of ``epoch``."""
        return self._plain_steps if self.is_plain(epoch) else self._hard_steps

    def steps_before(self, epoch: int) -> int:
        """Steps of all epochs before ``epoch``, which may be the one after the last."""
        plain = min(epoch, self._plain_epochs)
        return plain * self._plain_steps + (epoch - plain) * self._hard_steps

    def bounds(self, epochs: int) -> tuple[int, int]:
        """The fewest and the most steps that are done when ``epochs`` have ended and the next one has not."""
        return self.steps_before(epochs), self.steps_before(min(epochs + 1, self.params.epochs))

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_before(self.params.epochs)

    def choose(self, epoch: int, losses_N: Tensor, generator: torch.Generator) -> Tensor:
        """The images of ``epoch``, (M,) positions in the order in which they are seen.

        A plain epoch takes all, and its incomplete last batch is left out. Any other takes the hardest by ``losses_N``
        first, those not yet seen before them, and fills its steps up with others at random.

        Args:
            epoch: which, 0 is the first.
            losses_N: of each image, or ``UNSEEN``, as they stood before the epoch.
            generator: the only source of randomness, on the device of ``losses_N``.
        """
        size = self.steps_in(epoch) * self.params.batch_size
        if self.is_plain(epoch):
            return torch.randperm(self.images, generator=generator, device=losses_N.device)[:size]
        hardest = min(int(self.params.hard.share * self.images), size)
        hardness_N = losses_N.masked_fill(losses_N == UNSEEN, math.inf)
        ranked_N = hardness_N.argsort(descending=True, stable=True)
        others_N = ranked_N[hardest:]
        drawn_N = torch.randperm(len(others_N), generator=generator, device=losses_N.device)[: size - hardest]
        taken_M = torch.cat((ranked_N[:hardest], others_N[drawn_N]))
        return taken_M[torch.randperm(size, generator=generator, device=losses_N.device)]


@dataclass(slots=True)
class Newest:
    """What each of N images came to when a step last saw it: its loss, ``UNSEEN`` before, and whether it was right.

    Kept on the device, so that no step waits for a number to arrive from there.
    """

    losses_N: Tensor
    right_N: Tensor

    @classmethod
    def none(cls, images: int, device: torch.device) -> Newest:
        """Before the first step."""
        return cls(torch.full((images,), UNSEEN, device=device), torch.zeros(images, dtype=torch.bool, device=device))

    def note(self, index_M: Tensor, losses_M: Tensor, right_M: Tensor) -> None:
        """A step saw the images at ``index_M``, each once."""
        self.losses_N.index_copy_(0, index_M, losses_M)
        self.right_N.index_copy_(0, index_M, right_M)

    def means(self) -> tuple[float, float]:
        """Loss, and fraction that was right, over the images that have been seen."""
        seen_N = self.losses_N != UNSEEN
        count = int(seen_N.sum())
        return float(self.losses_N[seen_N].double().sum()) / count, int(self.right_N.sum()) / count

"""The MNIST training that everybody has written once: two convolutions, per-image transforms, a DataLoader, Adadelta.

Written anew after what the widely copied example of PyTorch does (its shapes, batch, optimiser and rate); here the
images are shuffled, which the original forgets on a CPU, and the process that trains makes the batches on a GPU, too,
where the original has another one beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mnist_dvc.data.digits import MEAN, STD
from mnist_dvc.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mnist_dvc.data.arrays import LabelledImages

BATCH = 64
TEST_BATCH = 1000


class UsualNet(nn.Module):
    """1,199,882 parameters: 3x3 convolutions to 32 and 64 channels without padding, one pooling, 128 hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x_NCHW)))), 2)
        x_NC = F.relu(self.fc1(torch.flatten(self.dropout1(x_NCHW), 1)))
        return F.log_softmax(self.fc2(self.dropout2(x_NC)), dim=1)


def usual_transforms() -> Any:
    """``torchvision.transforms``; without it there is no usual loop, and the benchmark is skipped."""
    try:
        from torchvision import transforms  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # the latter where it was built for another torch
        pytest.skip(f"the usual loop needs torchvision, which cannot be imported here: {one_line(error)}")
    return transforms


class PerImage(Dataset[tuple[Tensor, int]]):
    """One image at a time through PIL, as torchvision's MNIST serves them."""

    def __init__(self, digits: LabelledImages, *, distorted: bool) -> None:
        transforms = usual_transforms()
        self._digits = digits
        steps: list[Callable[..., object]] = [transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
        if distorted:
            steps.insert(0, transforms.RandomAffine(8, translate=(0.054, 0.054), scale=(0.92, 1.08), shear=4.6))
        self._transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._digits.labels_N)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self._digits.images_NHW[position])
        return self._transform(picture), int(self._digits.labels_N[position])


def usual_loader(digits: LabelledImages, *, distorted: bool = False, batch_size: int = BATCH) -> Iterable[list[Tensor]]:
    """Batches in random order, loaded by this process, as the example does on a CPU."""
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        PerImage(digits, distorted=distorted),
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
    )
    return loader


def usual_epoch(model: nn.Module, loader: Iterable[list[Tensor]], device: torch.device) -> None:
    """One pass as the example makes it; a network that gives logits is trained on the same loss."""
    adadelta = torch.optim.Adadelta(model.parameters(), lr=1.0)
    model.train()
    for images_N1HW, labels_N in loader:
        adadelta.zero_grad()
        loss = F.nll_loss(F.log_softmax(model(images_N1HW.to(device)), dim=1), labels_N.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        adadelta.step()


@torch.no_grad()
def usual_evaluation(model: nn.Module, loader: Iterable[list[Tensor]], device: torch.device) -> int:
    """How many answers are right, counted as the example does: by the host, batch by batch."""
    model.eval()
    right = 0
    for images_N1HW, labels_N in loader:
        answers_N = model(images_N1HW.to(device)).argmax(dim=1)
        right += int(answers_N.eq(labels_N.to(device)).sum().item())
    return right

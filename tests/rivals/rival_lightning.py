"""Lightning's MNIST image classifier, which is PyTorch's own example as a module: ten epochs of batches of 32.

Network, optimiser (Adadelta at 1.0, times 0.7 each epoch) and the input pipeline of torchvision are those of
https://github.com/Lightning-AI/pytorch-lightning/tree/master/examples/fabric/image_classifier.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import lightning
import numpy as np
import torch
from telling import Split, Telling, mnist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

BATCH, RATE, GAMMA = 32, 1.0, 0.7


class Pictures(Dataset[tuple[Tensor, int]]):
    """As ``torchvision.datasets.MNIST`` hands them out: a picture at a time, through the transforms."""

    def __init__(self, split: Split) -> None:
        self._pixels, self._labels = np.rint(split.images_NHW * 255).astype(np.uint8), split.labels_N
        self._change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._change(transforms.functional.to_pil_image(self._pixels[index])), int(self._labels[index])


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
        )  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images_N1HW, labels_N = batch
        return F.cross_entropy(self.network(images_N1HW), labels_N)

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.Adadelta(self.parameters(), lr=RATE)
        return [optimiser], [torch.optim.lr_scheduler.StepLR(optimiser, step_size=1, gamma=GAMMA)]


class Scoring(lightning.Callback):
    def __init__(self, telling: Telling, test: Split) -> None:
        self._telling, self._loader, self._labels_N = (
            telling,
            DataLoader(Pictures(test), batch_size=1000),
            test.labels_N,
        )

    @torch.no_grad()
    def _accuracy(self, module: Classifier) -> float:
        module.eval()
        found = torch.cat([module.network(images_N1HW).argmax(dim=1) for images_N1HW, _ in self._loader])
        module.train()
        return float((found.numpy() == self._labels_N).mean())

    def on_train_epoch_end(self, _: Any, module: Any) -> None:
        self._telling.scored(lambda: self._accuracy(module))


def main(folder: str, epochs: int) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    train, test = mnist(folder)
    module = Classifier()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    told = Telling(f"Lightning {lightning.__version__}", "image_classifier", parameters, len(train))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Scoring(told, test)],
    )
    trainer.fit(module, DataLoader(Pictures(train), batch_size=BATCH, shuffle=True))
    told.tell()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)

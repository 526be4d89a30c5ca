"""tinygrad's "beautiful MNIST": 70 steps of 512 images, https://github.com/tinygrad/tinygrad, beautiful_mnist.py.

An "epoch" here is ten steps, after which the example looks at the test images. Needs Clang.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from telling import Telling, mnist
from tinygrad import Tensor, TinyJit, nn

BATCH, STEPS = 512, 10


class Network:
    def __init__(self) -> None:
        self.layers = [
            nn.Conv2d(1, 32, 5), Tensor.relu, nn.Conv2d(32, 32, 5), Tensor.relu, nn.BatchNorm(32), Tensor.max_pool2d,
            nn.Conv2d(32, 64, 3), Tensor.relu, nn.Conv2d(64, 64, 3), Tensor.relu, nn.BatchNorm(64), Tensor.max_pool2d,
            lambda x: x.flatten(1), nn.Linear(576, 10),
        ]  # fmt: skip

    def __call__(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.sequential(self.layers)


def main(folder: str, epochs: int) -> None:
    train, test = mnist(folder)
    images, labels, test_images = (
        Tensor(train.images_NHW[:, None]),
        Tensor(train.labels_N),
        Tensor(test.images_NHW[:, None]),
    )
    network = Network()
    weights = nn.state.get_parameters(network)
    optimiser = nn.optim.Adam(weights)

    @TinyJit
    def step() -> Tensor:
        with Tensor.train():
            optimiser.zero_grad()
            chosen = Tensor.randint(BATCH, high=len(train))
            loss = network(images[chosen]).sparse_categorical_crossentropy(labels[chosen]).backward()
            return loss.realize(*optimiser.schedule_step())

    @TinyJit
    def answers() -> Tensor:
        return network(test_images).argmax(axis=1).realize()

    parameters = sum(tensor.numel() for tensor in weights)
    telling = Telling(f"tinygrad {version('tinygrad')}", "beautiful_mnist", parameters, BATCH * STEPS)
    for _ in range(epochs):
        for _ in range(STEPS):
            step().item()
        telling.scored(lambda: float((answers().numpy() == test.labels_N).mean()))
    telling.tell()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7)

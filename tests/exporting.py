"""Networks that nobody has trained, where `export` looks for those that `train` made, and what they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from helpers import NETWORK, write_scores

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.describe import parameter_count
from mnist_dvc.files import sha256sums
from mnist_dvc.model import NETWORKS
from mnist_dvc.model.weights import Card, weights_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from mnist_dvc.paths import Paths


def network(name: str, seed: int = 0) -> nn.Module:
    """With norms that have seen something, so that none of them is the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name](0.0)
        with torch.no_grad():
            model.train()(torch.randn(50, 1, 28, 28))
    return model.eval()


def publish(paths: Paths, name: str = NETWORK, seed: int = 0) -> None:
    """Put a network where ``train`` puts it, with its digest beside it, and scores where ``evaluate`` puts them."""
    prepared = Prepared.open(paths.prepared)
    model = network(name, seed)
    parameters = parameter_count(model)
    card = Card(name, parameters, prepared.dataset, prepared.digest, {"torch": "2.0", "threads": 1})
    content = weights_bytes(model.state_dict(), card)
    paths.model.parent.mkdir(exist_ok=True)
    paths.model.write_bytes(content)
    paths.sums.write_bytes(sha256sums({paths.model.name: content}))
    write_scores(paths, parameters, prepared.dataset)


def network_input(images_N1HW: NDArray[np.uint8]) -> torch.Tensor:
    """As training and evaluation make it."""
    labels_N = torch.zeros(len(images_N1HW), dtype=torch.int64)
    ((input_N1HW, _),) = Digits(torch.from_numpy(images_N1HW), labels_N).chunks(len(images_N1HW))
    return input_N1HW

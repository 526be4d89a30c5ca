"""Flax's MNIST example, https://github.com/google/flax/tree/main/examples/mnist: 10 epochs, batches of 128."""

from __future__ import annotations

import functools
import sys
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from telling import Telling, mnist

BATCH, RATE, MOMENTUM = 128, 0.1, 0.9


class Network(linen.Module):
    @linen.compact
    def __call__(self, x_NHWC: jax.Array) -> jax.Array:
        for features in (32, 64):
            x_NHWC = linen.relu(linen.Conv(features, (3, 3))(x_NHWC))
            x_NHWC = linen.avg_pool(x_NHWC, (2, 2), strides=(2, 2))
        flat = x_NHWC.reshape((len(x_NHWC), -1))
        return linen.Dense(10)(linen.relu(linen.Dense(256)(flat)))


def main(folder: str, epochs: int) -> None:
    train, test = mnist(folder)
    network, optimiser, rng = Network(), optax.sgd(RATE, MOMENTUM), np.random.default_rng(0)
    weights = network.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    state = optimiser.init(weights)

    def loss_of(weights: Any, images_NHWC: jax.Array, labels_N: jax.Array) -> jax.Array:
        logits_NK = network.apply(weights, images_NHWC)
        return optax.softmax_cross_entropy_with_integer_labels(logits_NK, labels_N).mean()

    @jax.jit
    def step(weights: Any, state: Any, images_NHWC: jax.Array, labels_N: jax.Array) -> tuple[Any, Any]:
        gradient = jax.grad(loss_of)(weights, images_NHWC, labels_N)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(weights, updates), state

    @jax.jit
    def answers(weights: Any, images_NHWC: jax.Array) -> jax.Array:
        return network.apply(weights, images_NHWC).argmax(axis=1)

    def accuracy(weights: Any) -> float:
        return float((np.asarray(answers(weights, test.images_NHW[..., None])) == test.labels_N).mean())

    steps = len(train) // BATCH
    parameters = sum(array.size for array in jax.tree.leaves(weights))
    telling = Telling(f"Flax {flax.__version__}, JAX {jax.__version__}", "examples/mnist", parameters, steps * BATCH)
    for _ in range(epochs):
        for index_N in rng.permutation(len(train))[: steps * BATCH].reshape(steps, BATCH):
            weights, state = step(weights, state, train.images_NHW[index_N][..., None], train.labels_N[index_N])
        jax.block_until_ready(weights)
        telling.scored(functools.partial(accuracy, weights))
    telling.tell()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)

"""Keras' "Simple MNIST convnet", https://keras.io/examples/vision/mnist_convnet/, on JAX: 15 epochs, batches of 128."""

from __future__ import annotations

import os
import sys

from telling import Telling, mnist

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras import layers

HELD_OUT = 0.1


def network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main(folder: str, epochs: int) -> None:
    train, test = mnist(folder)
    model = network()
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    known = keras.utils.to_categorical(train.labels_N, 10)
    images = int(len(train) * (1 - HELD_OUT))
    telling = Telling(
        f"Keras {keras.__version__} on {keras.backend.backend()}", "mnist_convnet", model.count_params(), images
    )

    def accuracy() -> float:
        return float((model.predict(test.images_NHW[..., None], verbose=0).argmax(axis=1) == test.labels_N).mean())

    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: telling.scored(accuracy))
    model.fit(
        train.images_NHW[..., None],
        known,
        batch_size=128,
        epochs=epochs,
        validation_split=HELD_OUT,
        verbose=0,
        callbacks=[told],
    )
    telling.tell()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15)

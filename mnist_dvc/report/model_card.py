"""The model card of an exported network, in the form that model hubs read: YAML front matter, then Markdown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from ruamel.yaml import YAML

from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnist_dvc.model.weights import Card
    from mnist_dvc.records import Result

__all__ = ["TEMPLATE", "Facts", "model_card"]

TEMPLATE = Path(__file__).parent / "model_card.md.j2"


SOURCES = {
    "fashion": "Fashion-MNIST (Xiao, Rasul and Vollgraf, https://arxiv.org/abs/1708.07747): articles of clothing",
    "kmnist": "KMNIST (Clanuwat and others, https://arxiv.org/abs/1812.01718): old Japanese cursive letters",
    "emnist-digits": "EMNIST's digits (Cohen and others, https://arxiv.org/abs/1702.05373): digits of more writers",
    "qmnist": "QMNIST (Yadav and Bottou, https://arxiv.org/abs/1905.10498): MNIST made anew from its scans",
}
"""The data sets beside MNIST that are known by name."""
OF_MNIST = ("mnist", "mnist-5k")
HUB_NAMES = {"fashion": "fashion_mnist", "mnist-5k": "mnist"}
"""What hubs call a data set that has another name here."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the card tells of a network."""

    card: Card
    """What the model file says of itself."""
    training_images: int
    recipe: Mapping[str, Any]
    """The section ``train`` of the params."""
    scores: Result
    """What ``evaluate`` found out; the fields mean what they mean there."""
    parity: Mapping[str, Any]
    """The metrics of ``export``."""
    digests: Mapping[str, str]
    """SHA-256 of the files beside the card, by name."""


def model_card(facts: Facts) -> bytes:
    """The card as UTF-8 Markdown: same facts, same bytes.

    Raises:
        jinja2.UndefinedError: the template names what ``facts`` do not hold.
    """
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  (Markdown, of our own values)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"per_cent": per_cent, "thousands": "{:,}".format}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        front_matter=_front_matter(facts), facts=facts, sources=SOURCES, is_mnist=facts.card.dataset in OF_MNIST
    ).encode()


def _front_matter(facts: Facts) -> str:
    """What a hub files the model under; the sample is images of MNIST."""
    dataset = HUB_NAMES.get(facts.card.dataset, facts.card.dataset)
    subject = ["mnist", "handwritten-digits"] if facts.card.dataset in OF_MNIST else [dataset]
    score = {"type": "accuracy", "name": "Accuracy", "value": facts.scores.accuracy}
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": dataset, "name": facts.card.dataset, "split": "test"},
        "metrics": [score],
    }
    told = {
        "license": "apache-2.0",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": [*subject, "onnx", "safetensors", "pytorch"],
        "datasets": [dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"mnist-dvc-{facts.card.network}", "results": [result]}],
    }
    text = io.StringIO()
    YAML().dump(told, text)
    return text.getvalue()

"""The model card of an exported network, in the form that model hubs read: YAML front matter, then Markdown."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnist_dvc.model.weights import Card

__all__ = ["TEMPLATE", "Facts", "Scores", "model_card"]

TEMPLATE = Path(__file__).parent / "model_card.md.j2"


class Scores(BaseModel):
    """What the card repeats of the metrics of ``evaluate``; the fields mean what they mean there."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    accuracy: float
    errors: int
    images: int
    accuracy_low: float
    accuracy_high: float
    nll: float
    brier: float
    ece: float
    parameters: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the card tells of a network."""

    card: Card
    """What the model file says of itself."""
    training_images: int
    recipe: Mapping[str, Any]
    """The section ``train`` of the params."""
    scores: Scores
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
    return template.render(front_matter=_front_matter(facts), facts=facts).encode()


def _front_matter(facts: Facts) -> str:
    """What a hub files the model under; both data sets of ours are images of MNIST."""
    score = {"type": "accuracy", "name": "Accuracy", "value": facts.scores.accuracy}
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": "mnist", "name": facts.card.dataset, "split": "test"},
        "metrics": [score],
    }
    told = {
        "license": "apache-2.0",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["mnist", "handwritten-digits", "onnx", "safetensors", "pytorch"],
        "datasets": ["mnist"],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"mnist-dvc-{facts.card.network}", "results": [result]}],
    }
    text = io.StringIO()
    YAML().dump(told, text)
    return text.getvalue()

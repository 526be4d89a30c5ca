"""The model card: what a hub reads of it, what a person does with it, and that it says nothing else than the facts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pytest
from helpers import blobs, params
from PIL import Image
from ruamel.yaml import YAML

from mnist_dvc.model.weights import Card
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.records import Result
from mnist_dvc.report import model_card as module
from mnist_dvc.report.model_card import TEMPLATE, Facts, model_card

if TYPE_CHECKING:
    from pathlib import Path

SCORES = Result(
    dataset="mnist",
    accuracy=0.9958,
    errors=42,
    images=10_000,
    accuracy_low=0.9943270153750562,
    accuracy_high=0.9969713830780764,
    nll=0.01425,
    brier=0.00712,
    ece=0.00053,
    parameters=19_392,
)
FACTS = Facts(
    card=Card("reference", 19_392, "mnist", "d" * 64, {"torch": "2.15.0", "threads": 2}),
    training_images=55_000,
    recipe=params().train.model_dump(),
    scores=SCORES,
    parity={"images": 10_000, "differing_answers": 0, "largest_difference": 1.9e-5, "opset": 18},
    digests={"model.onnx": "a" * 64, "model.safetensors": "b" * 64},
)
SAMPLE = replace(
    FACTS, card=replace(FACTS.card, dataset="mnist-5k"), scores=SCORES.model_copy(update={"dataset": "mnist-5k"})
)


def parts(facts: Facts) -> tuple[dict[str, Any], str]:
    """Front matter and Markdown, taken apart as hubs do it."""
    matched = re.fullmatch(r"---\n(.*?)\n---\n(.*)", model_card(facts).decode(), flags=re.DOTALL)
    assert matched
    return YAML(typ="safe", pure=True).load(matched[1]), matched[2]


def test_front_matter_has_the_fields_of_a_hub() -> None:
    told, _ = parts(FACTS)
    (model,) = told.pop("model-index")
    assert told == {
        "license": "apache-2.0",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["mnist", "handwritten-digits", "onnx", "safetensors", "pytorch"],
        "datasets": ["mnist"],
        "metrics": ["accuracy"],
    }
    assert model == {
        "name": "mnist-dvc-reference",
        "results": [
            {
                "task": {"type": "image-classification", "name": "Image Classification"},
                "dataset": {"type": "mnist", "name": "mnist", "split": "test"},
                "metrics": [{"type": "accuracy", "name": "Accuracy", "value": 0.9958}],
            }
        ],
    }


def test_sections_and_figures_are_there() -> None:
    _, text = parts(FACTS)
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert sections == [
        "How to use it",
        "Training data",
        "Training procedure",
        "Evaluation",
        "Limitations",
        "Provenance",
    ]
    for words in (
        "# reference: handwritten digits with 19,392 parameters",
        "55,000 of the 60,000 training images of MNIST",
        "| `augment.rotation` | 5.0 |",
        "| 95 % interval (exact binomial) | 99.43 % to 99.70 % |",
        "| errors | 42 of 10,000 |",
        "0 answers differ, the largest difference of a logit is 1.9e-05.",
        "- threads: 2",
        f"| `model.onnx` | `{'a' * 64}` |",
    ):
        assert words in text


def test_every_key_of_the_recipe_is_told() -> None:
    _, text = parts(FACTS)
    recipe = params().train.model_dump()
    keys = {key for key, value in recipe.items() if not isinstance(value, dict)}
    assert set(re.findall(r"^\| `(\w+(?:\.\w+)?)` \| [^`]", text, flags=re.MULTILINE)) == {
        *keys,
        *(f"{section}.{key}" for section in ("augment", "hard") for key in recipe[section]),
    }


def test_figures_of_the_sample_are_not_shown_as_those_of_mnist() -> None:
    told, text = parts(SAMPLE)
    assert told["model-index"][0]["results"][0]["dataset"]["name"] == "mnist-5k"
    assert "not MNIST's official test images" in text
    assert "**Its figures are not comparable with those on MNIST.**" in text
    _, of_mnist = parts(FACTS)
    assert "not comparable" not in of_mnist
    assert "official test images, read once" in of_mnist


def test_same_facts_give_the_same_bytes_and_others_do_not() -> None:
    assert model_card(FACTS) == model_card(replace(FACTS))
    assert model_card(FACTS) != model_card(replace(FACTS, training_images=54_999))


def test_no_line_has_blanks_at_its_end_and_none_is_left_to_fill_in() -> None:
    text = model_card(FACTS).decode()
    assert not re.search(r"[ \t]$|\{\{|\}\}|\{%|%\}", text, flags=re.MULTILINE)
    assert not re.search(r"\n\n\n", text)
    assert text.endswith("|\n")


def test_template_that_names_an_unknown_fact_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.md.j2"
    other.write_text(TEMPLATE.read_text(encoding="utf-8") + "{{ facts.card.colour }}", encoding="utf-8")
    monkeypatch.setattr(module, "TEMPLATE", other)
    with pytest.raises(jinja2.UndefinedError, match="colour"):
        model_card(FACTS)


def snippets() -> list[str]:
    _, text = parts(FACTS)
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def ran(snippet: str, folder: Path, *, with_package: bool) -> subprocess.CompletedProcess[str]:
    """``snippet`` in ``folder``, where the package is to be found or not."""
    start = "" if with_package else "import sys; sys.modules['mnist_dvc'] = None\n"
    return subprocess.run(
        [sys.executable, "-c", start + snippet], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder that holds the exported network and a picture, and nothing else."""
    shutil.copy(released_onnx("compact"), tmp_path / "model.onnx")
    Image.fromarray(np.pad(blobs(1).images_NHW[0], 20)).save(tmp_path / "four.png")
    return tmp_path


def test_snippet_runs_as_it_stands_without_this_package(beside: Path) -> None:
    alone, _ = snippets()
    result = ran(f"{alone}print(digits.shape, probabilities.sum(axis=1).round(5))", beside, with_package=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "(3,) [1. 1. 1.]\n"


def test_snippet_with_the_package_runs_where_it_is(beside: Path) -> None:
    _, with_package = snippets()
    result = ran(with_package, beside, with_package=True)
    assert (result.returncode, result.stderr) == (0, "")
    digit, confidence = result.stdout.split()
    assert digit in "0123456789"
    assert 0.1 <= float(confidence) <= 1


def test_package_is_out_of_reach_so_the_first_snippet_proves_something(beside: Path) -> None:
    _, with_package = snippets()
    assert "ModuleNotFoundError" in ran(with_package, beside, with_package=False).stderr

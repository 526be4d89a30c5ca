from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch
from helpers import FIXTURES, NO_FILES, ROOT

from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.files import SUMS, sha256sums
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model.tensorfile import METADATA_KEY
from mnist_dvc.model.weights import Card, read_model, weights_bytes
from mnist_dvc.params import ModelParams

if TYPE_CHECKING:
    from pathlib import Path

CARD = Card("compact", 19_706, "mnist", "0" * 64, {"torch": "2.15", "threads": 2, "device": "cpu"})


def state(name: str = "compact", seed: int = 0) -> dict[str, torch.Tensor]:
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(seed))
    return dict(model.state_dict())


def parameters(name: str) -> int:
    return sum(p.numel() for p in NETWORKS[name](0.0).parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_gives_back_network_and_card(tmp_path: Path, name: str) -> None:
    card = Card(name, parameters(name), "mnist", "f" * 64, {"threads": 1})
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(state(name), card))
    model, read = read_model(tmp_path / "model.safetensors")
    assert read == card
    assert not model.training
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(name).items())


def test_bytes_do_not_depend_on_layout_or_process() -> None:
    here = weights_bytes(state(), CARD)
    laid_out = {
        key: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value for key, value in state().items()
    }
    assert weights_bytes(laid_out, CARD) == here
    code = (
        f"import sys, hashlib; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT / 'tests/model')!r}]\n"
        "import test_weights as t;"
        "print(hashlib.sha256(t.weights_bytes(t.state(), t.CARD)).hexdigest())"
    )
    there = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert there == hashlib.sha256(here).hexdigest()


def changed_header(content: bytes, **changes: object) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told = json.loads(header["__metadata__"][METADATA_KEY]) | changes
    header["__metadata__"][METADATA_KEY] = json.dumps(told)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def signed(content: bytes) -> bytes:
    """``content`` with the digest that belongs to it, as someone who means ill would hand it over."""
    length = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
    blank = content.replace(told["sha256"].encode(), b"0" * 64, 1)
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1)


def deep(depth: int) -> bytes:
    header = json.dumps({"__metadata__": {METADATA_KEY: "[" * depth}}).encode()
    return len(header).to_bytes(8, "little") + header


def with_value(value: float) -> dict[str, torch.Tensor]:
    bias = state()["head.2.bias"].clone()
    bias[3] = value
    return state() | {"head.2.bias": bias}


def with_values(value: float) -> bytes:
    """A model file as our writer does not write it, unsigned."""
    length = int.from_bytes(GOOD[:8], "little")
    metadata = json.loads(GOOD[8 : 8 + length])["__metadata__"]
    return safetensors.torch.save(with_value(value), metadata=metadata)


GOOD = weights_bytes(state(), CARD)
NO_CARD = {"network": "compact"}
BAD = {
    "empty": (b"", "header: got damage"),
    "text": (b"not a model", "header: got damage"),
    "html": (b"<!doctype html><title>404</title>" * 100, "header: got damage"),
    "too large": (bytes(2**20 + 1), "size: got more than 1,048,576 bytes"),
    "only zeros": (bytes(1000), "header: got damage"),
    "truncated": (GOOD[:-100], "SHA-256: got"),
    "cut in the header": (GOOD[:100], "header: got damage"),
    "one byte more": (GOOD + b"x", "SHA-256: got"),
    "header length": (b"\xff" * 8 + GOOD[8:], "header: got damage"),
    "no metadata": (safetensors.torch.save(state()), "header: got damage"),
    "nested text": (deep(50_000), "header: got damage (RecursionError)"),
    "older schema": (changed_header(GOOD, schema=1), "schema: got 1, expected 2, so train it again"),
    "later schema": (changed_header(GOOD, schema=3), "schema: got 3, expected 2"),
    "schema of another type": (changed_header(GOOD, schema="2"), "schema: got '2', expected 2"),
    "card incomplete": (changed_header(GOOD, card=NO_CARD), "header: got damage (card.parameters: Field required)"),
    "card of other types": (changed_header(GOOD, card=asdict(CARD) | {"network": ["compact"]}), "(card.network: "),
    "card naming code": (changed_header(GOOD, card=asdict(CARD) | {"_target_": "os.system"}), "(card._target_: "),
    "unsigned change": (changed_header(GOOD, card=asdict(CARD) | {"dataset": "mnist-5k"}), "SHA-256: got"),
    "digest of another type": (changed_header(GOOD, sha256=7), "header: got damage (sha256: "),
    "tensors out of bounds": (
        signed(GOOD.replace(b'"data_offsets":[0,', b'"data_offsets":[9,', 1)), "': got bytes 8 to 16, expected 0 to 8"
    ),
    "unknown network": (signed(weights_bytes(state(), replace(CARD, network="os.system"))), "got 'os.system'"),
    "other network": (weights_bytes(state(), replace(CARD, network="reference")), "of reference: got"),
    "tensor missing": (
        weights_bytes({k: v for k, v in state().items() if k != "head.2.bias"}, CARD), "got nothing, expected float32"
    ),
    "tensor too many": (weights_bytes(state() | {"extra": torch.zeros(1)}, CARD), "'extra' of compact: got float32"),
    "tensor of another shape": (
        weights_bytes(state() | {"head.2.bias": torch.zeros(11)}, CARD), "got float32 (11,), expected float32 (10,)"
    ),
    "tensor of another type": (
        weights_bytes(state() | {"head.2.bias": torch.zeros(10).double()}, CARD), "got float64 (10,), expected float32"
    ),
    "NaN": (signed(with_values(torch.nan)), "'head.2.bias': got NaN or infinity, expected finite"),
    "infinity": (signed(with_values(-torch.inf)), "'head.2.bias': got NaN or infinity, expected finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_unfit_file_is_refused(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_their_reader_would_refuse_are_not_written(value: float) -> None:
    with pytest.raises(DivergedError) as caught:
        weights_bytes(with_value(value), CARD)
    assert str(caught.value) == (
        "training diverged: tensor 'head.2.bias': got NaN or infinity, expected finite numbers; "
        "try a smaller train.learning_rate"
    )
    assert caught.value.exit_code == 70


def test_largest_weight_is_written_and_read(tmp_path: Path) -> None:
    """The twin of the refusal, and of the tools that made the refused files."""
    largest = torch.finfo(torch.float32).max
    for content in (weights_bytes(with_value(largest), CARD), signed(with_values(largest))):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert read_model(tmp_path / "model.safetensors")[1] == CARD


def test_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected the model that `train` writes"):
        read_model(tmp_path / "model.safetensors")


def test_change_that_is_signed_is_another_model_so_the_table_above_tests_more_than_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(signed(changed_header(GOOD, card=asdict(CARD) | {"dataset": "mnist-5k"})))
    assert read_model(path)[1].dataset == "mnist-5k"


@pytest.mark.parametrize("kind", sorted(NO_FILES.keys() - {"circle"}))
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.safetensors"
    NO_FILES[kind](path)
    with pytest.raises(ArtifactError, match="file: got (nothing|something else than a file), expected the model"):
        read_model(path)


def test_link_to_a_model_is_followed_as_dvc_may_link_into_its_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(GOOD)
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "cache")
    assert read_model(tmp_path / "model.safetensors")[1] == CARD


def test_another_model_than_the_one_on_record_is_refused(tmp_path: Path) -> None:
    """A valid file in the place of another: DVC trusts the cache by its permissions and hands it over."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD)
    (tmp_path / SUMS).write_bytes(sha256sums({path.name: GOOD}))
    assert read_model(path)[1] == CARD
    path.write_bytes(weights_bytes(state(seed=1), CARD))
    with pytest.raises(ArtifactError, match="SHA-256: got .*, expected .*, as in SHA256SUMS beside it"):
        read_model(path)
    (tmp_path / SUMS).unlink()
    assert read_model(path)[1] == CARD


@pytest.mark.parametrize("text", ["", "nonsense", "0  other.safetensors\n", "\0" * 100])
def test_record_that_does_not_name_the_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD)
    (tmp_path / SUMS).write_text(text)
    with pytest.raises(ArtifactError, match="list of digests: got nothing for model.safetensors"):
        read_model(path)


def test_file_of_the_first_schema_is_refused_in_words() -> None:
    with pytest.raises(ArtifactError, match="schema: got 1, expected 2, so train it again"):
        read_model(FIXTURES / "model-schema-1.safetensors")


def test_file_of_the_second_schema_is_read() -> None:
    """Written before the compact network got its present shape; the reference network kept its own."""
    model, card = read_model(FIXTURES / "model-schema-2-reference.safetensors")
    assert (card.network, card.parameters) == ("reference", 19_392)
    assert sum(parameter.numel() for parameter in model.parameters()) == 19_392
    assert all(torch.equal(value, state("reference")[key]) for key, value in model.state_dict().items())


def test_file_of_the_first_compact_network_is_refused_in_words() -> None:
    """Whole, of the second schema, and of the 19,386 parameters that `compact` once had."""
    with pytest.raises(ArtifactError, match=r"tensor '.*' of compact: got .*, expected "):
        read_model(FIXTURES / "model-schema-2.safetensors")

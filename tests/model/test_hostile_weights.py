"""Model files with the right digest and another content: refused by what they claim, before a tensor is made of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from hostile_tensors import bare, changed, entry, framed, more, parts, resealed, told, twice, without

from mnist_dvc.errors import ArtifactError
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model import weights as module
from mnist_dvc.model.tensorfile import TensorFile
from mnist_dvc.model.weights import Card, read_model, weights_bytes
from mnist_dvc.params import ModelParams

if TYPE_CHECKING:
    from pathlib import Path

    from hostile_tensors import Change

CARD: dict[str, Any] = {
    "network": "compact",
    "parameters": 19_706,
    "dataset": "mnist",
    "data_digest": "0" * 64,
    "provenance": {"threads": 1},
}
STATE = dict(build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0)).state_dict())
GOOD = weights_bytes(STATE, Card(**CARD))
BIAS = "head.2.bias"
OF_BIAS = parts(GOOD)[0][BIAS]["data_offsets"]
KNOWN = [*parts(GOOD)[0]]


def card(**changes: Any) -> Change:
    return told(card={key: value for key, value in (CARD | changes).items() if value is not None})


def behind(size: int) -> Change:
    return lambda header, body: (header, body + bytes(size))


SAYS = f"tensor '{BIAS}' of compact: got "
ELEMENTS = ["F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3", "F8_E5M2", "BF16", "F16", "F64", "C64", "I32", "U64"]
HOSTILE: dict[str, tuple[Change, str]] = {
    **{f"{name} in place of F32": (entry(BIAS, dtype=name), SAYS) for name in [*ELEMENTS, "f32", "", "\x1b[31m"]},
    **{f"no values of {name}": (more(name, [0]), "tensor 'more' of compact: got ") for name in [*ELEMENTS, "F32"]},
    "empty shape that overflows": (more("F32", [0, 2**63]), "more.shape.1: Input should be less than"),
    "empty shape whose strides overflow": (more("F32", [0, *[2**39] * 7]), "more.shape: Value error, more values"),
    "shape that overflows to 0": (entry(BIAS, shape=[2**32, 2**32]), "more values than any file holds"),
    "negative shape": (entry(BIAS, shape=[-10]), f"{BIAS}.shape.0: Input should be greater"),
    "shape of fractions": (entry(BIAS, shape=[10.5]), f"{BIAS}.shape.0: Input should be a valid integer"),
    "shape of truth": (entry(BIAS, shape=[True]), f"{BIAS}.shape.0: Input should be a valid integer"),
    "shape of text": (entry(BIAS, shape="10"), f"{BIAS}.shape: Input should be a valid list"),
    "a hundred axes": (entry(BIAS, shape=[1] * 100), f"{BIAS}.shape: List should have at most 8"),
    "an axis more": (entry(BIAS, shape=[10, 1]), f"{SAYS}float32 (10, 1)"),
    "no shape": (entry(BIAS, shape=None), f"{BIAS}.shape: Field required"),
    "no type": (entry(BIAS, dtype=None), f"{BIAS}.dtype: Field required"),
    "no offsets": (entry(BIAS, data_offsets=None), f"{BIAS}.data_offsets: Field required"),
    "three offsets": (entry(BIAS, data_offsets=[0, 1, 2]), f"{BIAS}.data_offsets: List should have at most 2"),
    "negative offset": (entry(BIAS, data_offsets=[-40, 0]), f"{BIAS}.data_offsets.0: Input should be greater"),
    "offset beyond memory": (entry(BIAS, data_offsets=[0, 2**63]), f"{BIAS}.data_offsets.1: Input should be less"),
    "offsets beyond the file": (entry(BIAS, data_offsets=[10**6, 10**6 + 40]), "tensor 'head.2.weight': got bytes"),
    "offsets turned round": (entry(BIAS, data_offsets=OF_BIAS[::-1]), "': got bytes"),
    "overlapping offsets": (entry(BIAS, data_offsets=[8, 48]), "': got bytes"),
    "offsets that are too long": (entry(BIAS, data_offsets=[OF_BIAS[0], OF_BIAS[1] + 4]), "': got bytes"),
    "something else in an entry": (entry(BIAS, module="os"), f"{BIAS}.module: Extra inputs"),
    "an entry that is a list": (lambda h, b: (h | {BIAS: []}, b), f"{BIAS}: Input should be a valid"),
    "a tensor missing": (without(BIAS), f"{SAYS}nothing, expected float32 (10,)"),
    "a tensor too many": (more("F32", [10], 40), "tensor 'more' of compact: got float32 (10,), expected nothing"),
    "a name that paints": (more("F32", [1], 4, "\x1b[31m"), "tensor '\\x1b[31m' of compact"),
    "a tensor twice": (twice(BIAS, dtype="F16"), "header: got damage (ValueError)"),
    "metadata twice": (twice("__metadata__"), "header: got damage (ValueError)"),
    "bytes behind the tensors": (behind(8), "content: got "),
    "a second key of metadata": (
        lambda h, b: (h | {"__metadata__": h["__metadata__"] | {"format": "pt"}}, b), "__metadata__.format: Extra"
    ),
    "metadata of a number": (lambda h, b: (h | {"__metadata__": {"mnist_dvc": 5}}, b), "mnist_dvc: Input should be"),
    "a header of a list": (bare(b"[]"), "header: got damage (Input should be a valid dictionary"),
    "a header of a number": (bare(b"1e999"), "header: got damage (Input should be"),
    "a deep header": (bare(b"[" * 60_000), "header: got damage (RecursionError)"),
    "a header in UTF-16": (bare("{}".encode("utf-16")), "header: got damage"),
    "a number of 5,000 digits": (bare(b'{"a":1' + b"0" * 5000 + b"}"), "header: got damage (ValueError)"),
    "a large header": (bare(b" " * 70_000 + b"{}"), "header: got damage (70,002 bytes long by its own account)"),
    "no parameters": (card(parameters=0), "card.parameters: Input should be greater than 0"),
    "another number of parameters": (card(parameters=19_705), "parameters of compact: got 19705, expected 19706"),
    "parameters true": (card(parameters=True), "card.parameters: Input should be a valid integer"),
    "no network": (card(network=""), "card.network: String should have at least 1"),
    "another network": (card(network="reference"), "of reference: got "),
    "an unknown network": (card(network="os.system"), "network: got 'os.system', expected one of"),
    "a digest of another form": (card(data_digest="0" * 63), "card.data_digest: String should match"),
    "an endless data set": (card(dataset="x" * 5000), "card.dataset: String should have at most 100"),
    "eleven classes": (card(classes=[*"abcdefghijk"]), "card.classes: Tuple should have at most 10"),
    "endless class": (card(classes=["x" * 5000]), "card.classes.0: String should have at most 100"),
    "class of a number": (card(classes=[5]), "card.classes.0: Input should be a valid string"),
    "provenance of anything": (card(provenance={"a": {"b": 1}}), "card.provenance.a"),
    "endless provenance": (card(provenance={str(i): i for i in range(101)}), "card.provenance: Dictionary should"),
}  # fmt: skip


def sealed(change: Change) -> bytes:
    content = changed(GOOD, change)
    try:
        return resealed(content)
    except (LookupError, TypeError, ValueError, RecursionError):  # without the place where a digest stands, no digest
        return content


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_model(path)
    text = str(caught.value)
    assert (text.startswith(f"{path}: "), text.isprintable(), caught.value.exit_code) == (True, True, 65)
    assert len(text) < len(str(path)) + 1500
    return text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_before_a_tensor_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, expected = HOSTILE[name]
    monkeypatch.setattr(safetensors.torch, "load", lambda _: pytest.fail("unpacked"))
    assert expected in refusal(tmp_path / "model.safetensors", sealed(change))


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_header_that_lies_about_its_length_is_refused(tmp_path: Path, length: int) -> None:
    refusal(tmp_path / "model.safetensors", framed(*parts(GOOD), length=length))


def test_made_with_the_same_tools_a_good_file_is_read(tmp_path: Path) -> None:
    """The twin: neither the spelling nor the digest is what is refused."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(sealed(lambda header, body: (header, body)))
    model, read = read_model(path)
    assert read == Card(**CARD)
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())
    path.write_bytes(sealed(card(dataset="mnist-5k")))
    assert read_model(path)[1].dataset == "mnist-5k"


@pytest.mark.parametrize("name", ["no values of F4", "no values of F6_E2M3", "empty shape that overflows"])
def test_without_the_look_at_the_header_what_is_raised_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The twin: such errors of PyTorch and safetensors ended in a traceback and 70."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(sealed(HOSTILE[name][0]))
    text = json.dumps({"schema": module.SCHEMA, "sha256": "0" * 64, "card": CARD})
    unchecked = TensorFile(path, "a model", text, 0, {})
    monkeypatch.setattr(TensorFile, "of", lambda *_: unchecked)
    monkeypatch.setattr(TensorFile, "refuse_misplaced", lambda *_: None)
    monkeypatch.setattr(module, "refuse_broken_seal", lambda *_: None)
    monkeypatch.setattr(module, "_empty", lambda *_: NETWORKS["compact"](0.0))
    with pytest.raises((KeyError, TypeError)):
        read_model(path)


def test_every_released_header_is_far_below_the_largest() -> None:
    from mnist_dvc.pretrained import released_weights  # noqa: PLC0415

    for name in ("compact", "reference"):
        length = int.from_bytes(released_weights(name).read_bytes()[:8], "little")
        assert length < module.LARGEST_HEADER / 4

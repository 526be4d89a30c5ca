"""params.yaml as typed, frozen values: every key, its unit, its range."""

from __future__ import annotations

import difflib
import functools
import reprlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.functional_validators import AfterValidator

from mnist_dvc.errors import ParamsError, RefusalError, one_line
from mnist_dvc.files import read_regular
from mnist_dvc.yaml import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = [
    "AugmentParams",
    "Change",
    "DataParams",
    "EvaluateParams",
    "ExportParams",
    "ModelParams",
    "Params",
    "TrainParams",
    "load_params",
    "param_keys",
]

CLASSES = 10
LARGEST_FILE = 64 * 2**10
"""Bytes; the committed file has fewer than 3,000."""
STARTS = "mnist-dvc init"
MOST_PROBLEMS = 20


def _printable(text: str) -> str:
    """A name or a path as one types it; a control character in it is a mistake or worse."""
    if not text.isprintable():
        raise ValueError
    return text


Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Text = Annotated[
    str,
    AfterValidator(_printable),
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra={"expected": "a text that is not empty, of at most 1024 printable characters"},
    ),
]


class _Section(BaseModel):
    """Frozen, no unknown keys, no silent conversion ("1" is not 1, true is not 1), no NaN and no infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _none_or_one_per_class(count: int) -> int:
    """A stratified split needs at least one image of each class, or no images at all."""
    if 0 < count < CLASSES:
        raise ValueError
    return count


class DataParams(_Section):
    """Where the digits come from and how they are split."""

    source: Text
    """auto, mnist, sample, fashion, kmnist, emnist-digits, qmnist, or a folder of IDX files or of pictures by class."""
    validation: Annotated[
        int,
        AfterValidator(_none_or_one_per_class),
        Field(ge=0, le=30_000, json_schema_extra={"expected": f"0, or a whole number from {CLASSES} to 30000"}),
    ]
    """Images taken from the training files for validation; 0 trains on all of them."""
    holdout: Literal["random", "block"]
    """random takes any, stratified by class; block takes consecutive ones, which in MNIST have writers of their own."""
    seed: Seed
    """Chooses which images those are."""


class ModelParams(_Section):
    """Which network is built."""

    name: Text
    """A name of the registry in mnist_dvc/model."""
    dropout: Annotated[float, Field(ge=0.0, le=0.9)]
    """Probability that a feature is dropped before the classifier."""


class AugmentParams(_Section):
    """Half-widths of the random distortions of a training image; 0 switches one off."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)]
    """Degrees, either way."""
    shift: Annotated[float, Field(ge=0.0, le=14.0)]
    """Pixels, along each axis."""
    scale: Annotated[float, Field(ge=0.0, le=0.9)]
    """Relative change of size, for each axis by itself."""
    shear: Annotated[float, Field(ge=0.0, le=1.0)]
    """Columns moved per row."""
    elastic: Annotated[float, Field(ge=0.0, le=5.0)]
    """Standard deviation, in pixels, of the control points of a smooth displacement."""


class HardParams(_Section):
    """Which images an epoch takes once some are easy: those of the largest newest losses, and others at random."""

    share: Annotated[float, Field(gt=0.0, le=1.0)]
    """The hardest so much of the images; at 1 every epoch takes them all."""
    random: Annotated[float, Field(ge=0.0, le=1.0)]
    """So much of the images beside them, drawn anew for each epoch."""
    plain_epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Epochs at the beginning that take all images."""


class TrainParams(_Section):
    """The training recipe and the machine it runs on."""

    seed: Seed
    """Of the initial weights, the order of the images, the augmentation and the dropout."""
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    """Passes over the training images, or over those that train.hard takes."""
    batch_size: Annotated[int, Field(ge=2, le=10_000)]
    """Images per step; an incomplete last batch is left out."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    """Peak of the schedule."""
    schedule: Literal["onecycle", "cosine"]
    """onecycle warms up along a cosine and falls to almost nothing; cosine warms up along a line and falls to 0."""
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Fraction of the steps until the peak."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)]
    """Decoupled, per unit of learning rate; not on biases and BatchNorm."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Probability mass spread over all classes."""
    distillation: Annotated[float, Field(ge=0.0, le=1.0)]
    """Weight of the teachers' answers against the labels; above 0 it needs the answers that `study teach` writes."""
    clean_epochs: Annotated[int, Field(ge=0, le=10_000)]
    """Epochs at the end without distortions."""
    gradient_clip: Annotated[float, Field(gt=0.0, le=1e6)]
    """Largest L2 norm of a gradient; a longer one is scaled down to it."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Of the running average of the weights, per step; the average is what is validated and published."""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """auto takes the first present of cuda, mps, cpu; a device that is named must be there."""
    precision: Literal["auto", "float32", "bfloat16"]
    """Of the forward pass in training; auto takes bfloat16 where the processor computes in it."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads; the result is the same to the last bit only for the same number."""
    hard: HardParams
    """Learning from what is still hard."""
    augment: AugmentParams
    """Distortions of the training images."""


class EvaluateParams(_Section):
    """How the test images are read."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)]
    """Images per forward pass."""
    threads: Annotated[int, Field(ge=1, le=1024)]
    """CPU threads."""
    mistakes: Annotated[int, Field(ge=1, le=100)]
    """Worst mistakes shown in the picture."""


class ExportParams(_Section):
    """How the ONNX file is written and held against the model."""

    opset: Annotated[int, Field(ge=18, le=23)]
    """Version of the ONNX operators, of those that the exporter and the oldest supported onnxruntime share."""
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)]
    """Largest absolute difference of a logit from PyTorch's."""


class Params(_Section):
    """The whole of params.yaml."""

    data: DataParams
    model: ModelParams
    train: TrainParams
    evaluate: EvaluateParams
    export: ExportParams

    _origin: _Origin | None = PrivateAttr(default=None)

    @property
    def source(self) -> str:
        """Name of the file that these values were read from."""
        return "params" if self._origin is None else str(self._origin.path)

    def place(self, key: str) -> str:
        """Where the value of the dotted ``key`` comes from: an option as it was given, or key and file."""
        return self._options.get(key, f"{key} in {self.source}")

    def placed(self, error: ParamsError) -> ParamsError:
        """The refusal of values by who knows only them, told of the file and the options that they come from."""
        return ParamsError(self.source, [*error.problems], self._options)

    @property
    def _options(self) -> Mapping[str, str]:
        return {} if self._origin is None else _options(self._origin.changes)

    def read_again(self) -> Params:
        """What now stands in the file that these values were read from; these, if they come from no file.

        Raises:
            ParamsError: as :func:`load_params`.
        """
        return self if self._origin is None else load_params(*self._origin)


class Change(NamedTuple):
    """What an option says of a key, in place of the file."""

    key: str
    """Dotted, such as ``train.epochs``."""
    value: Any
    option: str
    """As it was given, for messages."""

    @classmethod
    def parse(cls, text: str) -> Change:
        """``train.epochs=5``, the value by the same rules as in the file.

        Raises:
            ParamsError: there is no such key, or the value is not YAML.
        """
        option = f"-S {text}"
        key, sign, value = text.partition("=")
        if not sign:
            raise ParamsError(option, ["got no equals sign, expected KEY=VALUE, such as train.epochs=5"])
        if key not in _known():
            raise ParamsError(option, [f"unknown key{_suggestion(key.split('.'))}"])
        return cls(key, parse_yaml(value.encode("utf-8", "surrogatepass"), option), option)


class _Origin(NamedTuple):
    """Where params came from: the arguments of :func:`load_params`."""

    path: Path
    changes: Sequence[Change]


def load_params(path: Path, changes: Sequence[Change] = ()) -> Params:
    """Read and check ``path`` by the rules of YAML 1.2, as DVC does, so that both see the same values.

    Args:
        path: the params file.
        changes: take the place of values in the file, the last one of a key; checked as if they stood there.

    Raises:
        ParamsError: the file is missing, unreadable or not YAML, or any number of keys is wrong.
    """
    if not path.exists() and not path.is_symlink():
        raise ParamsError(path, [f"file: got nothing, expected a params file; `{STARTS}` writes one"])
    try:
        content = read_regular(path, LARGEST_FILE, RefusalError, f"a params file of at most {LARGEST_FILE:,} bytes")
    except RefusalError as error:
        raise ParamsError(path, [error.problem]) from error
    except OSError as error:
        raise ParamsError(path, [f"{error.strerror or error}; expected a params file"]) from error
    params = _checked(path, _changed(parse_yaml(content, path), changes), _options(changes))
    params._origin = _Origin(path, changes)  # noqa: SLF001
    return params


def _options(changes: Sequence[Change]) -> dict[str, str]:
    return {change.key: change.option for change in changes}


def _changed(raw: Any, changes: Sequence[Change]) -> Any:
    """``raw`` with the values of ``changes``; what is no mapping stays as it is, to be refused with the rest."""
    for change in changes:
        *sections, name = change.key.split(".")
        inner = raw
        for section in sections:
            inner = inner.setdefault(section, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner[name] = change.value
    return raw


def _checked(path: Path, raw: Any, options: Mapping[str, str]) -> Params:
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        problems = [_problem(detail) for detail in details[:MOST_PROBLEMS]]
        more = len(details) - len(problems)
        raise ParamsError(path, [*problems, f"{more} more problems"] if more else problems, options) from error


def _problem(detail: ErrorDetails) -> str:
    """One pydantic error as ``dotted.key: got ..., expected ...``."""
    parts = [one_line(part, 60) for part in detail["loc"]]
    key = ".".join(parts)
    match detail["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{_suggestion(parts)}"
        case "invalid_key":
            return f"{key}: got a key that is no text, expected {_expected(_schema_of(parts[:-1]))}"
        case "missing":
            return f"{key}: missing, expected {_expected(_schema_of(parts))}"
        case _:
            where = f"{key}: " if key else ""
            return f"{where}got {_shown(detail['input'])}, expected {_expected(_schema_of(parts))}"


class _Shown(reprlib.Repr):
    """repr() that looks no further than what it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring = 2, 57

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out an integer of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() <= 1024 else f"a number of {x.bit_length()} bits"  # noqa: PLR2004


def _shown(value: object) -> str:
    """``value`` as YAML would write it where that is short: true, null, text in quotes."""
    named = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return named[value]
    return one_line(_Shown().repr(value), 60)


def _suggestion(parts: list[str]) -> str:
    """``, did you mean a.b?``: the key of that very name elsewhere, else the nearest in the section, else anywhere."""
    known = dict(_leaves(Params))
    section = ".".join(parts[:-1])
    siblings = {key.rsplit(".", 1)[-1]: key for key in known if key.rpartition(".")[0] == section}
    anywhere = {key.rsplit(".", 1)[-1]: key for key in known} | {name: name for name in Params.model_fields}
    if parts[-1] in anywhere:
        return f", did you mean {anywhere[parts[-1]]}?"
    for names in (siblings, anywhere):
        near = difflib.get_close_matches(parts[-1], names, n=1)
        if near:
            return f", did you mean {names[near[0]]}?"
    return ""


def _leaves(section: type[BaseModel], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, type) of every key that holds a value, in the order of the classes."""
    found: list[tuple[str, Any]] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += _leaves(kind, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", kind))
    return found


def param_keys() -> list[str]:
    """The dotted names of all keys, such as ``train.augment.shift``."""
    return [key for key, _ in _leaves(Params)]


def _known() -> frozenset[str]:
    """All keys and sections."""
    keys = param_keys()
    return frozenset(keys) | {key.rpartition(".")[0] for key in keys}


@functools.cache
def _schema() -> dict[str, Any]:
    return Params.model_json_schema()


def _schema_of(parts: list[str]) -> dict[str, Any]:
    """The JSON schema of the key at ``parts``; pydantic keeps the ranges there in one form for all types."""
    schema = _schema()
    node: dict[str, Any] = schema
    for part in parts:
        node = node["properties"][part]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def _expected(node: dict[str, Any]) -> str:
    """A JSON schema node in words: type and range, unless it brings words of its own."""
    if "expected" in node:
        return str(node["expected"])
    if "enum" in node:
        return "one of " + ", ".join(node["enum"])
    if node["type"] == "object":
        return "a mapping with the keys " + ", ".join(node["properties"])
    if node["type"] == "string":
        return "a text that is not empty"
    kind = "a whole number" if node["type"] == "integer" else "a number"
    low = f"above {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else f"from {node['minimum']}"
    high = f"below {node['exclusiveMaximum']}" if "exclusiveMaximum" in node else f"to {node['maximum']}"
    return f"{kind} {low} {high}"

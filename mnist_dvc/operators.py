"""The ONNX operators that our exporter writes, and what each makes of the shape of one image's values.

Every value that a network computes begins with the axis N of the images, and no operator here mixes images: so a shape
is that of one image, without N, and what a graph takes is known before it runs, for any number of images. The shape
inference of the library ``onnx`` says less: it leaves a shape out where it cannot tell, and takes N for a size like
any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "INPUT",
    "OPERATORS",
    "OUTPUT",
    "Attribute",
    "Constant",
    "Operand",
    "Operator",
    "Result",
    "UnfitError",
    "Value",
]

INPUT, OUTPUT = "images", "logits"
"""What a graph takes and gives."""

Shape = tuple[int, ...]
Attribute = int | float | str | tuple[int, ...]
LARGEST_STEP = 28
"""Stride and dilation of a filter: an image has no more rows or columns to leave out."""


class UnfitError(Exception):
    """An operator is told something, or given shapes, that our exporter does not write."""


@dataclass(frozen=True, slots=True)
class Value:
    """What is computed for each image: its ``shape`` without the axis N; ``pixels`` are uint8, all others float32."""

    shape: Shape
    pixels: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """What stands in the file: its whole ``shape``; ``integers`` are its values if they are int64, not float32."""

    shape: Shape
    integers: Shape | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The shapes of what an operator computes for one image, and about how many multiply-adds that takes."""

    shapes: tuple[Shape, ...]
    work: int


Operand = Value | Constant


@dataclass(frozen=True, slots=True)
class Operator:
    """``attributes`` are all that it may have, by the type that they have; ``rule`` raises :class:`UnfitError`."""

    attributes: Mapping[str, type]
    rule: Callable[[Sequence[Operand], Mapping[str, Attribute]], Result]


def _refuse(unfit: bool) -> None:  # noqa: FBT001  (the rules read as a list of what is refused)
    if unfit:
        raise UnfitError


def _value(operand: Operand, *, rank: int | None = None) -> Shape:
    """The shape of a computed float32 value, of that many axes beside N."""
    if not isinstance(operand, Value) or operand.pixels or (rank is not None and len(operand.shape) != rank):
        raise UnfitError
    return operand.shape


def _weights(operand: Operand) -> Shape:
    """The shape of a float32 constant."""
    if not isinstance(operand, Constant) or operand.integers is not None:
        raise UnfitError
    return operand.shape


def _integers(operand: Operand) -> Shape:
    """The values of an int64 constant, a list."""
    if not isinstance(operand, Constant) or operand.integers is None or len(operand.shape) != 1:
        raise UnfitError
    return operand.integers


def _of_one(shape: Shape, work: int = 0) -> Result:
    _refuse(min(shape, default=1) < 1)
    return Result((shape,), work + math.prod(shape))


def _axes(axes: Sequence[int], rank: int) -> set[int]:
    """``axes`` of an array of ``rank`` axes, N included, counted from 0; N itself is none of them."""
    found = {axis + rank if axis < 0 else axis for axis in axes}
    _refuse(len(found) != len(axes) or not found or not found <= set(range(1, rank)))
    return found


def _cast(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    (pixels,) = operands
    if not isinstance(pixels, Value) or not pixels.pixels:
        raise UnfitError
    _refuse(attributes.get("to") != 1)  # float32, in ONNX's list of types
    return _of_one(pixels.shape)


def _same(operands: Sequence[Operand], _: Mapping[str, Attribute]) -> Result:
    (operand,) = operands
    return _of_one(_value(operand))


def _arithmetic(operands: Sequence[Operand], _: Mapping[str, Attribute]) -> Result:
    """Of two values with the same number of axes, or of one and a constant that has none for the images."""
    one, other = operands
    values = [operand for operand in (one, other) if isinstance(operand, Value)]
    _refuse(not values)
    full = [(1, *_value(operand)) if isinstance(operand, Value) else _weights(operand) for operand in (one, other)]
    _refuse(len({len(operand.shape) for operand in values}) != 1)
    rank = len(values[0].shape) + 1
    _refuse(any(len(shape) > rank or (len(shape) == rank and shape[0] != 1) for shape in full))
    try:
        return _of_one(np.broadcast_shapes(*full)[1:])
    except ValueError as error:
        raise UnfitError from error


def _windows(maps: Shape, kernel: Shape, attributes: Mapping[str, Attribute]) -> Shape:
    """How many windows of size ``kernel`` there are down and across ``maps``, both (H, W)."""
    pads, strides, dilations = (
        attributes.get(name, given)
        for name, given in (("pads", (0, 0, 0, 0)), ("strides", (1, 1)), ("dilations", (1, 1)))
    )
    if not (isinstance(pads, tuple) and isinstance(strides, tuple) and isinstance(dilations, tuple)):
        raise UnfitError
    _refuse(attributes.get("auto_pad", "NOTSET") != "NOTSET")
    _refuse((len(pads), len(strides), len(dilations), len(kernel)) != (4, 2, 2, 2))
    _refuse(not all(1 <= step <= LARGEST_STEP for step in (*strides, *dilations)) or min(kernel) < 1)
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    _refuse(not all(0 <= pad < span for pad, span in zip(pads, spans * 2, strict=True)))
    sizes = zip(maps, pads[:2], pads[2:], spans, strides, strict=True)
    return tuple((size + before + after - span) // stride + 1 for size, before, after, span, stride in sizes)


def _conv(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    maps, weights, *bias = operands
    (channels, *size), filters, groups = _value(maps, rank=3), _weights(weights), attributes.get("group", 1)
    if len(filters) != 4 or not isinstance(groups, int):  # noqa: PLR2004  (filters, channels of each, H, W)
        raise UnfitError
    count, of_each, *kernel = filters
    _refuse(groups < 1 or count % groups != 0 or channels != of_each * groups)
    _refuse(attributes.get("kernel_shape", tuple(kernel)) != tuple(kernel))
    _refuse(len(bias) > 1 or any(_weights(constant) != (count,) for constant in bias))
    windows = _windows(tuple(size), tuple(kernel), attributes)
    return _of_one((count, *windows), count * math.prod(windows) * of_each * math.prod(kernel))


def _max_pool(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    (maps,) = operands
    (channels, *size), kernel = _value(maps, rank=3), attributes.get("kernel_shape")
    if not isinstance(kernel, tuple):
        raise UnfitError
    _refuse(attributes.get("ceil_mode", 0) != 0 or attributes.get("storage_order", 0) != 0)
    windows = _windows(tuple(size), kernel, attributes)
    return _of_one((channels, *windows), channels * math.prod(windows) * math.prod(kernel))


def _batch_norm(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    maps, *figures = operands
    shape = _value(maps)
    _refuse(not shape or [_weights(constant) for constant in figures] != [shape[:1]] * 4)
    _refuse(not all(0 <= number <= 1 for number in attributes.values() if isinstance(number, float)))
    return _of_one(shape)


def _gemm(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    features, weights, *bias = operands
    (width,), matrix = _value(features, rank=1), _weights(weights)
    _refuse(len(matrix) != 2 or attributes.get("transA", 0) != 0)  # noqa: PLR2004  (a matrix)
    _refuse(attributes.get("transB", 0) not in {0, 1} or len(bias) > 1)
    rows, columns = reversed(matrix) if attributes.get("transB", 0) else matrix
    _refuse(width != rows or any(_weights(constant) != (columns,) for constant in bias))
    return _of_one((columns,), rows * columns)


def _transpose(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    (operand,) = operands
    shape, order = _value(operand), attributes.get("perm")
    if not isinstance(order, tuple) or sorted(order) != list(range(len(shape) + 1)) or order[0] != 0:
        raise UnfitError
    return _of_one(tuple(shape[axis - 1] for axis in order[1:]))


def _reshape(operands: Sequence[Operand], _: Mapping[str, Attribute]) -> Result:
    operand, wanted = operands
    shape, (images, *rest) = _value(operand), _integers(wanted) or (0,)
    _refuse(images != -1 or min(rest, default=1) < 1 or math.prod(rest) != math.prod(shape))
    return _of_one(tuple(rest))


def _reduce(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    operand, wanted = operands
    shape, kept = _value(operand), attributes.get("keepdims", 1)
    _refuse(kept not in {0, 1} or attributes.get("noop_with_empty_axes", 0) != 0)
    axes = _axes(_integers(wanted), len(shape) + 1)
    sizes = [1 if axis in axes else size for axis, size in enumerate(shape, 1) if kept or axis not in axes]
    return _of_one(tuple(sizes), math.prod(shape))


def _unsqueeze(operands: Sequence[Operand], _: Mapping[str, Attribute]) -> Result:
    operand, wanted = operands
    shape, places = list(_value(operand)), _integers(wanted)
    for axis in sorted(_axes(places, len(shape) + len(places) + 1)):
        shape.insert(axis - 1, 1)
    return _of_one(tuple(shape))


def _concat(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    shapes, axis = [_value(operand) for operand in operands], attributes.get("axis")
    if not isinstance(axis, int) or len({len(shape) for shape in shapes}) != 1:
        raise UnfitError
    (at,) = (axis - 1 for axis in _axes([axis], len(shapes[0]) + 1))
    _refuse(len({(*shape[:at], *shape[at + 1 :]) for shape in shapes}) != 1)
    return _of_one((*shapes[0][:at], sum(shape[at] for shape in shapes), *shapes[0][at + 1 :]))


def _split(operands: Sequence[Operand], attributes: Mapping[str, Attribute]) -> Result:
    (operand,) = operands
    shape, axis, parts = _value(operand), attributes.get("axis", 0), attributes.get("num_outputs")
    if not isinstance(axis, int) or not isinstance(parts, int):
        raise UnfitError
    (at,) = (axis - 1 for axis in _axes([axis], len(shape) + 1))
    _refuse(parts < 1 or shape[at] % parts != 0)
    part = _of_one((*shape[:at], shape[at] // parts, *shape[at + 1 :]))
    return Result(part.shapes * parts, part.work * parts)


def _slice(operands: Sequence[Operand], _: Mapping[str, Attribute]) -> Result:
    operand, *wanted = operands
    shape, bounds = list(_value(operand)), [_integers(constant) for constant in wanted]
    _refuse(len(bounds) != 4 or len({len(given) for given in bounds}) != 1)  # noqa: PLR2004  (start, end, axis, step)
    starts, ends, axes, steps = bounds
    _axes(axes, len(shape) + 1)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        _refuse(step != 1)
        at = axis % (len(shape) + 1) - 1
        shape[at] = len(range(*slice(start, end).indices(shape[at])))
    return _of_one(tuple(shape))


_FILTER = {"auto_pad": str, "dilations": tuple, "kernel_shape": tuple, "pads": tuple, "strides": tuple}
_AXES = {"keepdims": int, "noop_with_empty_axes": int}
OPERATORS: Mapping[str, Operator] = {
    "Add": Operator({}, _arithmetic),
    "BatchNormalization": Operator({"epsilon": float, "momentum": float}, _batch_norm),
    "Cast": Operator({"to": int}, _cast),
    "Concat": Operator({"axis": int}, _concat),
    "Conv": Operator(_FILTER | {"group": int}, _conv),
    "Div": Operator({}, _arithmetic),
    "Gemm": Operator({"alpha": float, "beta": float, "transA": int, "transB": int}, _gemm),
    "LeakyRelu": Operator({"alpha": float}, _same),
    "MaxPool": Operator(_FILTER | {"ceil_mode": int, "storage_order": int}, _max_pool),
    "Mul": Operator({}, _arithmetic),
    "ReduceMax": Operator(_AXES, _reduce),
    "ReduceMean": Operator(_AXES, _reduce),
    "Relu": Operator({}, _same),
    "Reshape": Operator({"allowzero": int}, _reshape),
    "Sigmoid": Operator({}, _same),
    "Slice": Operator({}, _slice),
    "Split": Operator({"axis": int, "num_outputs": int}, _split),
    "Sqrt": Operator({}, _same),
    "Sub": Operator({}, _arithmetic),
    "Transpose": Operator({"perm": tuple}, _transpose),
    "Unsqueeze": Operator({}, _unsqueeze),
}
"""A network with another one needs it here; ``export`` writes no file that ``predict`` would refuse."""

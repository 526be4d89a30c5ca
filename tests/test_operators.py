"""The shapes that are foretold of an operator are those that come of it, or it is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mnist_dvc import graph
from mnist_dvc.operators import OPERATORS, Constant, Operand, UnfitError, Value
from mnist_dvc.pretrained import RELEASED, released_onnx

IMAGES = 3


def foretold(kind: str, operands: list[Operand], **attributes: Any) -> tuple[tuple[int, ...], ...] | None:
    """The shapes for one image, None where the operator is refused."""
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    try:
        return OPERATORS[kind].rule(operands, told).shapes
    except (UnfitError, ValueError):
        return None


def ran(kind: str, operands: list[Operand], outputs: int, **attributes: Any) -> list[tuple[int, ...]]:
    """The shapes that onnxruntime computes for three images."""
    names, inputs, constants = [f"x{number}" for number in range(len(operands))], [], []
    for name, operand in zip(names, operands, strict=True):
        if isinstance(operand, Value):
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [IMAGES, *operand.shape]))
        else:
            whole = np.ones(operand.shape, np.float32) if operand.integers is None else np.array(operand.integers)
            constants.append(numpy_helper.from_array(whole, name))
    given = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(kind, names, given, **attributes)
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in given]
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, results, constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        info.name: np.ones([dim.dim_value for dim in info.type.tensor_type.shape.dim], np.float32) for info in inputs
    }
    return [value.shape for value in session.run(None, feeds)]


def listed(*numbers: int) -> Constant:
    return Constant((len(numbers),), numbers)


MAPS, FEATURES, LAST = Value((6, 9, 7)), Value((8,)), 2**63 - 1
USES: list[tuple[str, list[Operand], dict[str, Any]]] = [
    ("Add", [MAPS, MAPS], {}),
    ("Mul", [MAPS, Value((6, 1, 1))], {}),
    ("Sub", [Constant((6, 1, 1)), MAPS], {}),
    ("Div", [MAPS, Constant(())], {}),
    ("Add", [Value((6, 1, 1)), Constant((1, 1, 4, 5))], {}),
    ("LeakyRelu", [MAPS], {"alpha": 0.2}),
    ("Relu", [MAPS], {}),
    ("Sigmoid", [FEATURES], {}),
    ("Sqrt", [FEATURES], {}),
    ("Conv", [MAPS, Constant((4, 6, 3, 3))], {"pads": [1, 1, 1, 1]}),
    ("Conv", [MAPS, Constant((4, 3, 5, 2)), Constant((4,))], {"group": 2, "strides": [2, 3], "pads": [4, 0, 1, 1]}),
    (
        "Conv",
        [MAPS, Constant((6, 1, 3, 3))],
        {"group": 6, "dilations": [3, 2], "pads": [2, 3, 0, 1], "strides": [1, 4]},
    ),
    ("MaxPool", [MAPS], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("MaxPool", [MAPS], {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [3, 1], "dilations": [2, 1]}),
    ("BatchNormalization", [MAPS, *[Constant((6,))] * 4], {"epsilon": 1e-5, "momentum": 0.9}),
    ("Gemm", [FEATURES, Constant((5, 8)), Constant((5,))], {"transB": 1, "alpha": 1.0, "beta": 1.0}),
    ("Gemm", [FEATURES, Constant((8, 5))], {}),
    ("Transpose", [MAPS], {"perm": [0, 3, 1, 2]}),
    ("Reshape", [MAPS, listed(-1, 63, 6)], {"allowzero": 1}),
    ("ReduceMax", [MAPS, listed(-2, -1)], {"keepdims": 1}),
    ("ReduceMean", [MAPS, listed(1)], {"keepdims": 0}),
    ("Unsqueeze", [FEATURES, listed(1, -1)], {}),
    ("Concat", [MAPS, Value((2, 9, 7)), MAPS], {"axis": 1}),
    ("Concat", [FEATURES, FEATURES], {"axis": -1}),
    ("Split", [FEATURES], {"axis": 1, "num_outputs": 2}),
    ("Slice", [MAPS, listed(2, -5), listed(-2, LAST), listed(2, 3), listed(1, 1)], {}),
    ("Slice", [MAPS, listed(-LAST), listed(4), listed(-1), listed(1)], {}),
]


@pytest.mark.parametrize("number", range(len(USES)))
def test_foretold_shapes_are_those_that_come(number: int) -> None:
    kind, operands, attributes = USES[number]
    shapes = foretold(kind, operands, **attributes)
    assert shapes is not None
    assert ran(kind, operands, len(shapes), **attributes) == [(IMAGES, *shape) for shape in shapes]


def test_every_operator_is_tried_above_but_the_cast_of_pixels() -> None:
    assert {kind for kind, _, _ in USES} == OPERATORS.keys() - {"Cast"}
    assert OPERATORS["Cast"].rule([Value((1, 28, 28), pixels=True)], {"to": 1}).shapes == ((1, 28, 28),)


def any_window(draw: np.random.Generator) -> tuple[list[Operand], dict[str, Any]]:
    """A convolution of any sizes, some of which do not fit."""
    height, width, kernel_h, kernel_w = draw.integers((4, 4, 1, 1), (16, 16, 7, 7)).tolist()
    attributes = {
        "pads": draw.integers(0, 4, 4).tolist(),
        "strides": draw.integers(1, 4, 2).tolist(),
        "dilations": draw.integers(1, 4, 2).tolist(),
    }
    return [Value((2, height, width)), Constant((3, 2, kernel_h, kernel_w))], attributes


def test_any_convolution_is_foretold_or_refused() -> None:
    draw, told = np.random.default_rng(0), 0
    for _ in range(100):
        operands, attributes = any_window(draw)
        shapes = foretold("Conv", operands, **attributes)
        if shapes is not None:
            assert ran("Conv", operands, 1, **attributes) == [(IMAGES, *shapes[0])]
            told += 1
    assert 20 < told < 80  # of either kind enough


@pytest.mark.parametrize("network", RELEASED)
def test_all_shapes_of_a_network_are_those_that_the_exporter_saw(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Operand] = {}
    define = graph._define
    monkeypatch.setattr(graph, "_define", lambda known, *rest: (define(known, *rest), seen.update(known)))
    model = onnx.load(released_onnx(network))
    graph._refuse_other_graph(model.graph, released_onnx(network))
    told = {info.name: graph._described(info)[2] for info in (*model.graph.value_info, *model.graph.output)}
    assert len(told) > 40
    for name, sizes in told.items():
        operand = seen[name]
        assert sizes == ["N", *operand.shape] if isinstance(operand, Value) else sizes == [*operand.shape], name


def test_work_of_a_convolution_is_its_multiply_adds_and_what_it_writes() -> None:
    result = OPERATORS["Conv"].rule([Value((6, 9, 7)), Constant((4, 6, 3, 3))], {"pads": (1, 1, 1, 1)})
    assert result.work == 4 * 9 * 7 * 6 * 9 + math.prod(result.shapes[0])

"""ONNX files as a stranger could make them: the released network changed in one thing, each with a digest that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from mnist_dvc.files import BLANK, sealed
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.serving import SEAL

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY = b"\n\x06" + SEAL.encode() + b"\x12\x40" + BLANK.encode()
MOST = 2**63 - 1


def good() -> onnx.ModelProto:
    """The released compact network, without its digest."""
    model = onnx.load(released_onnx("compact"))
    kept = [entry for entry in model.metadata_props if entry.key != SEAL]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def with_digest(content: bytes) -> bytes:
    """Any bytes, after the property that holds a digest of them."""
    return sealed(b"\x72" + bytes((len(ENTRY),)) + ENTRY + content)


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes((low | 128,)) + varint(rest) if rest else bytes((low,))


def message(field: int, content: bytes) -> bytes:
    """Protobuf's form of a field that holds bytes, text or a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, ``depth`` times."""
    content = b""
    for _ in range(depth):
        content = message(1, message(5, message(6, content)))
    return message(7, content)


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    """The good file after ``change``."""
    model = good()
    change(model)
    return with_digest(model.SerializeToString())


def node_of(model: onnx.ModelProto, kind: str) -> Any:
    """The first node of a kind."""
    return next(node for node in model.graph.node if node.op_type == kind)


def tensor(model: onnx.ModelProto, number: int = 0) -> Any:
    return model.graph.initializer[number]


def set_attribute(model: onnx.ModelProto, kind: str, name: str, value: Any) -> None:
    """Give an attribute of the first node of a kind another value, or an attribute that it has not."""
    node = node_of(model, kind)
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def set_integers(model: onnx.ModelProto, kind: str, position: int, value: list[int]) -> None:
    """Give the first node of a kind another list of integers as an input."""
    node_of(model, kind).input[position] = constant(model, "other", np.array(value, np.int64))


def insert(
    model: onnx.ModelProto, kind: str, extra: list[str] | None = None, outputs: int = 1, **attributes: Any
) -> None:
    """A node between the pixels and the first that takes them as numbers."""
    first = model.graph.node[1]
    names = [f"new{number}" for number in range(outputs)]
    node = helper.make_node(kind, [first.input[0], *(extra or [])], names, **attributes)
    first.input[0] = names[0]
    model.graph.node.insert(1, node)


def body() -> onnx.GraphProto:
    """A graph to be run within a node; it hands its condition and what it is given on."""
    counter = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    condition, again = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "again"))
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    nodes = [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Relu", ["x"], ["y"])]
    return helper.make_graph(nodes, "body", [counter, condition, taken], [again, given])


def loop(model: onnx.ModelProto, times: int = MOST) -> None:
    """A loop of that many rounds before the network."""
    rounds, go = constant(model, "rounds", np.int64(times)), constant(model, "go_on", np.ones((), np.bool_))
    first = model.graph.node[1]
    model.graph.node.insert(1, helper.make_node("Loop", [rounds, go, first.input[0]], ["new0"], body=body()))
    first.input[0] = "new0"


def functions(model: onnx.ModelProto, depth: int, *, used: bool = True) -> None:
    """Functions of which each calls the one before twice."""
    model.opset_import.append(helper.make_opsetid("own", 1))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for level in range(depth):
        calls = [("Relu", "") if level == 0 else (f"f{level - 1}", "own")] * 2
        nodes = [
            helper.make_node(kind, [name], [following], domain=domain)
            for (kind, domain), name, following in zip(calls, "xy", "yz", strict=True)
        ]
        model.functions.append(helper.make_function("own", f"f{level}", ["x"], ["z"], nodes, imports))
    if used:
        insert(model, f"f{depth - 1}", domain="own")


def zeros(model: onnx.ModelProto, numbers: int) -> None:
    """As many numbers out of nothing, added up to one."""
    name = constant(model, "size", np.array([numbers], np.int64))
    insert(model, "Add", ["most"])
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", [name], ["many"]))
    model.graph.node.insert(1, helper.make_node("ReduceMax", ["many"], ["most"], keepdims=1))


def outside(model: onnx.ModelProto, name: str = "weights.bin") -> None:
    """The first tensor in another file."""
    first = tensor(model)
    first.ClearField("raw_data")
    first.data_location = TensorProto.EXTERNAL
    first.external_data.append(onnx.StringStringEntryProto(key="location", value=name))


def classes(model: onnx.ModelProto, count: int, *, told: int) -> None:
    """A last layer of ``count`` outputs, of which the file says ``told``."""
    last = model.graph.node[-1]
    last.input[1] = constant(model, "more", np.zeros((count, 64), np.float32))
    last.input[2] = constant(model, "biases", np.arange(count, dtype=np.float32))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = told


def typed(model: onnx.ModelProto, kind: int, content: bytes) -> None:
    """The first of the ten biases of the last layer in another type."""
    given = next(entry for entry in model.graph.initializer if list(entry.dims) == [10])
    given.data_type, given.raw_data = kind, content


def of_strings(model: onnx.ModelProto) -> None:
    tensor(model).CopyFrom(numpy_helper.from_array(np.array(["text"], object), tensor(model).name))


def shaped(model: onnx.ModelProto, *dims: int) -> None:
    del tensor(model).dims[:]
    tensor(model).dims.extend(dims)


def valued(model: onnx.ModelProto, value: float) -> None:
    """The first weight is ``value``."""
    raw = tensor(model).raw_data
    tensor(model).raw_data = np.float32(value).tobytes() + raw[4:]


def widened(model: onnx.ModelProto, *sizes: int) -> None:
    """The pixels made more by constants of these shapes, which are broadcast."""
    last = model.graph.node[0].output[0]
    for number, size in enumerate(sizes):
        shape = np.roll([size, 1, 1, 1], 1 + number)
        added = constant(model, f"w{number}", np.zeros(shape, np.float32))
        model.graph.node.insert(1 + number, helper.make_node("Add", [last, added], [f"wide{number}"]))
        last = f"wide{number}"


def reference_of(model: onnx.ModelProto) -> None:
    """An attribute that stands for one of a function around it."""
    node_of(model, "Conv").attribute.append(AttributeProto(name="group", ref_attr_name="x", type=AttributeProto.INT))

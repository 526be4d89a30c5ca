"""What is wrong with ONNX files that a stranger could make, and the words that each is refused in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import graphs
import numpy as np
from graphs import (
    MOST,
    changed,
    constant,
    good,
    insert,
    message,
    nested,
    node_of,
    set_attribute,
    set_integers,
    tensor,
    with_digest,
)
from onnx import AttributeProto, TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

OPERATOR, USE = r"node \d+ '.*': operator: got", r"node \d+ '.*': use: got"
FIELD, VERSION, SETS = "field: got", "version of the format: got", "sets of operators: got"
INTERFACE, VALUES, TYPE, NAME = r"(in|out)put: got", r"tensor \d+ '.*': values: got", "type: got", "name: got"


def operator(kind: str, **attributes: Any) -> Callable[[onnx.ModelProto], object]:
    return lambda model: insert(model, kind, **attributes)


def attribute(kind: str, name: str, value: Any) -> Callable[[onnx.ModelProto], object]:
    return lambda model: set_attribute(model, kind, name, value)


def integers(kind: str, *value: int, position: int = 1) -> Callable[[onnx.ModelProto], object]:
    return lambda model: set_integers(model, kind, position, list(value))


def opset(number: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: setattr(model.opset_import[0], "version", number)


def version(number: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: setattr(model, "ir_version", number)


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = model.graph.node[3].output[0]


def cut_convolution(model: onnx.ModelProto) -> None:
    """More work than 8,000,000 numbers and 200,000 weights seem to be."""
    weights = constant(model, "large", np.zeros((250, 1, 28, 28), np.float32))
    insert(model, "Conv", [weights], pads=[27] * 4, kernel_shape=[28, 28])


OTHER_OPERATORS = (
    *(
        "Loop",
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Resize",
        "Pad",
        "Range",
        "RandomNormalLike",
        "Bernoulli",
        "NonZero",
    ),
    *("StringNormalizer", "Identity", "Einsum", "MatMul", "Constant", "Optional", "SequenceEmpty", ""),
)


def many_nodes(model: onnx.ModelProto) -> None:
    last = model.graph.node[0].output[0]
    for number in range(2_000):
        model.graph.node.insert(1 + number, helper.make_node("Relu", [last], [f"r{number}"]))
        last = f"r{number}"


CHANGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    # what runs code, or for ever
    "endless loop": (graphs.loop, FIELD),
    "branches": (operator("If", then_branch=graphs.body(), else_branch=graphs.body()), FIELD),
    "scan": (operator("Scan", body=graphs.body(), num_scan_inputs=1), FIELD),
    "nested functions": (partial(graphs.functions, depth=40), FIELD),
    "function that nobody calls": (partial(graphs.functions, depth=1, used=False), FIELD),
    "operator of another domain": (operator("Gelu", domain="com.microsoft"), FIELD),
    "domain of its own": (lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)), SETS),
    **{f"operator {kind}": (operator(kind), OPERATOR) for kind in OTHER_OPERATORS},
    "3 GB of zeros": (partial(graphs.zeros, numbers=800_000_000), OPERATOR),
    # other parts and versions
    "weights in another file": (graphs.outside, FIELD),
    "weights of the system": (partial(graphs.outside, name="/etc/passwd"), FIELD),
    "sparse tensor": (lambda m: m.graph.sparse_initializer.add(), FIELD),
    "training": (lambda m: m.training_info.add(), FIELD),
    "quantisation": (lambda m: m.graph.quantization_annotation.add(), FIELD),
    "notes": (lambda m: setattr(m.graph, "doc_string", "/home"), FIELD),
    "properties of a node": (lambda m: m.graph.node[0].metadata_props.add(), FIELD),
    "numbers in another field": (lambda m: tensor(m).float_data.append(1.0), FIELD),
    "tensor as an attribute": (attribute("Conv", "t", helper.make_tensor("t", 1, [1], [1.0])), FIELD),
    "graph as an attribute": (attribute("Conv", "g", graphs.body()), FIELD),
    "type of a sequence": (lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.shape.dim.add(), FIELD),
    **{f"opset {number}": (opset(number), SETS) for number in (-1, 0, 17, 24, MOST)},
    "no opset": (lambda m: m.opset_import.pop(), SETS),
    "two opsets": (lambda m: m.opset_import.append(helper.make_opsetid("", 18)), SETS),
    **{f"format {number}": (version(number), VERSION) for number in (-1, 0, 7, 14, MOST)},
    "no graph": (lambda m: m.ClearField("graph"), INTERFACE),
    "property of the runtime": (lambda m: helper.set_model_props(m, {"ort_config": "{}"}), "property: got ort_config"),
    "property twice": (lambda m: m.metadata_props.append(m.metadata_props[0]), "property: got .*, each once"),
    "property of 900 KB": (
        lambda m: helper.set_model_props(m, {"dataset": "x" * 900_000}),
        "dataset: got 900,000 char",
    ),
    # what goes in and out
    "100 classes": (partial(graphs.classes, count=100, told=100), INTERFACE),
    "100 classes that are called 10": (partial(graphs.classes, count=100, told=10), "output: got .*100"),
    "9 classes": (partial(graphs.classes, count=9, told=9), INTERFACE),
    "another name of the input": (lambda m: setattr(m.graph.input[0], "name", "pixels"), INTERFACE),
    "another name of the output": (lambda m: setattr(m.graph.output[0], "name", "scores"), INTERFACE),
    "text as input": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING), INTERFACE),
    "no type": (lambda m: m.graph.input[0].ClearField("type"), INTERFACE),
    "unknown type": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99), INTERFACE),
    "another rank": (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(), INTERFACE),
    "one image": (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), INTERFACE),
    "large images": (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 2**40), INTERFACE),
    "open height": (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "H"), INTERFACE),
    "two inputs": (lambda m: m.graph.input.append(helper.make_tensor_value_info("more", 1, [1])), INTERFACE),
    "two outputs": (lambda m: m.graph.output.append(m.graph.output[0]), INTERFACE),
    "no output": (lambda m: m.graph.output.pop(), INTERFACE),
    "no nodes": (lambda m: m.graph.ClearField("node"), "output: got None"),
    # tensors
    **{
        f"type {kind}": (partial(graphs.typed, kind=getattr(TensorProto, kind), content=bytes(size)), TYPE)
        for kind, size in {
            "FLOAT16": 20,
            "BFLOAT16": 20,
            "DOUBLE": 80,
            "INT4": 5,
            "FLOAT8E4M3FN": 10,
            "BOOL": 10,
        }.items()
    },
    "text as weights": (graphs.of_strings, FIELD),
    "negative size": (lambda m: graphs.shaped(m, -1, 1, 5, 5), VALUES),
    "two negative sizes": (lambda m: graphs.shaped(m, -16, -1, 5, 5), VALUES),
    "size that wraps around": (lambda m: graphs.shaped(m, 2**62, 4, 1, 1), VALUES),
    "size of zero": (lambda m: graphs.shaped(m, 0, 1, 5, 5), VALUES),
    "axes without end": (lambda m: graphs.shaped(m, *[1] * 100_000), "dims: got 100,000 entries"),
    "values cut": (lambda m: setattr(tensor(m), "raw_data", tensor(m).raw_data[:-1]), VALUES),
    "values too many": (lambda m: setattr(tensor(m), "raw_data", tensor(m).raw_data + bytes(4)), VALUES),
    **{f"{value}": (partial(graphs.valued, value=value), VALUES) for value in (np.nan, np.inf, -np.inf)},
    # names
    "tensor twice": (lambda m: m.graph.initializer.append(tensor(m)), NAME),
    "tensor without a name": (lambda m: setattr(tensor(m), "name", ""), NAME),
    "tensor in the place of the images": (lambda m: setattr(tensor(m), "name", "images"), NAME),
    "node twice": (lambda m: m.graph.node.append(m.graph.node[0]), NAME),
    "cycle": (cycle, "input: got"),
    "node of itself": (lambda m: m.graph.node[2].input.__setitem__(0, m.graph.node[2].output[0]), "input: got"),
    "input of nowhere": (lambda m: m.graph.node[5].input.__setitem__(0, "nowhere"), "input: got 'nowhere'"),
    "empty input": (lambda m: m.graph.node[5].input.append(""), "input: got ''"),
    "no input": (lambda m: m.graph.node[5].ClearField("input"), USE),
    "1,000 inputs": (lambda m: node_of(m, "Concat").input.extend([node_of(m, "Concat").input[0]] * 1000), "entries"),
    # uses
    **{
        f"{name} {value}": (attribute("Conv", name, value), USE)
        for name, value in (
            ("pads", [-1] * 4),
            ("pads", [5] * 4),
            ("pads", [2**40] * 4),
            ("pads", [2] * 3),
            ("strides", [0, 1]),
            ("strides", [MOST, 1]),
            ("strides", [1]),
            ("dilations", [0, 1]),
            ("dilations", [28, 28]),
            ("kernel_shape", [3, 3]),
            ("group", 0),
            ("group", -1),
            ("group", 7),
            ("auto_pad", "SAME_UPPER"),
            ("group", 1.0),
            ("unknown", 1),
        )
    },
    "list without end": (attribute("Conv", "pads", [0] * 1000), "ints: got 1,000 entries"),
    "attribute twice": (lambda m: node_of(m, "Conv").attribute.append(node_of(m, "Conv").attribute[0]), USE),
    "attribute without a type": (lambda m: node_of(m, "Conv").attribute[0].ClearField("type"), USE),
    "attribute of another type": (
        lambda m: setattr(node_of(m, "Conv").attribute[0], "type", AttributeProto.GRAPHS),
        USE,
    ),
    "attribute of a function": (graphs.reference_of, FIELD),
    "window of nothing": (attribute("MaxPool", "kernel_shape", [0, 2]), USE),
    "window beyond the map": (attribute("MaxPool", "kernel_shape", [99, 99]), USE),
    "rounding up": (attribute("MaxPool", "ceil_mode", 1), USE),
    "second output": (lambda m: node_of(m, "MaxPool").output.append("indices"), USE),
    "negative epsilon": (attribute("BatchNormalization", "epsilon", -1.0), USE),
    "epsilon that is none": (attribute("BatchNormalization", "epsilon", float("nan")), USE),
    "infinite factor": (attribute("Gemm", "alpha", float("inf")), USE),
    "transposed images": (attribute("Gemm", "transA", 1), USE),
    "images among the channels": (attribute("Transpose", "perm", [1, 0, 2, 3]), USE),
    "axis twice": (attribute("Transpose", "perm", [0, 1, 1, 3]), USE),
    "cast to int64": (attribute("Cast", "to", TensorProto.INT64), USE),
    "one image of all": (integers("Reshape", 1, -1), USE),
    "a shape of zeros": (integers("Reshape", -1, 0), USE),
    "a shape that does not divide": (integers("Reshape", -1, 33), USE),
    "a huge shape": (integers("Reshape", -1, MOST, MOST), USE),
    "an empty shape": (integers("Reshape"), VALUES),
    "maximum over the images": (integers("ReduceMax", 0), USE),
    "maximum over no axis": (integers("ReduceMax"), VALUES),
    "maximum over axis 9": (integers("ReduceMax", 9), USE),
    "images beside images": (attribute("Concat", "axis", 0), USE),
    "halves of the images": (operator("Split", outputs=2, axis=0, num_outputs=2), USE),
    "3 of 28": (operator("Split", outputs=3, axis=2, num_outputs=3), USE),
    "pixels as numbers": (lambda m: node_of(m, "Div").input.__setitem__(0, "images"), USE),
    "weights that depend on the images": (lambda m: node_of(m, "Conv").input.__setitem__(1, "images"), USE),
    # amounts
    "broadcast to 15 GB": (lambda m: graphs.widened(m, 5_000_000 // 28**2, 1_000, 1_000), r"(computed|use): got"),
    "many channels": (lambda m: graphs.widened(m, 2_000), "numbers computed: got more than 1,048,576 of an image"),
    "large convolution": (cut_convolution, "multiply-adds computed: got more than 268,435,456 of an image"),
    "2,000 nodes": (many_nodes, "numbers computed"),
}


PLAIN = good().SerializeToString()
BYTES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", VERSION),
    "cut": (PLAIN[:-100], "content: got no protobuf"),
    "cut in half": (PLAIN[: len(PLAIN) // 2], "content: got no protobuf"),
    "no end of a number": (b"\x08" + b"\xff" * 9, "content: got no protobuf"),
    "length beyond the file": (b"\x3a\xff\xff\xff\xff\x0f", "content: got no protobuf"),
    "negative length": (b"\x3a" + b"\xff" * 9 + b"\x01", "content: got no protobuf"),
    "groups": (b"\x0b" * 1000, "content: got no protobuf"),
    "text": (b"an ONNX file\n" * 100, "content: got no protobuf"),
    "graphs in graphs": (nested(20), FIELD),
    "graphs in graphs without end": (nested(2_000), "content: got no protobuf"),
    "a name that is no text": (PLAIN + message(7, message(2, b"\xff\xfe")), "name: got bytes that are no UTF-8"),
    "two graphs in one": (PLAIN + PLAIN, SETS),
    "the graph twice": (PLAIN + message(7, good().graph.SerializeToString()), INTERFACE),
    **{
        f"340,000 times field {field}": (
            PLAIN + message(7, message(field, b"") * 340_000),
            "parts: got more than 10,000",
        )
        for field in (1, 5, 13)
    },
    "340,000 attributes": (PLAIN + message(7, message(1, message(5, b"") * 340_000)), "parts: got more than 10,000"),
    "340,000 sizes": (PLAIN + message(7, message(5, b"\x08\x01" * 340_000)), "dims: got 340,000 entries"),
    "340,000 functions": (PLAIN + message(25, b"") * 300_000, FIELD),
}
HOSTILE = {name: words for name, (_, words) in (CHANGES | BYTES).items()}


def content_of(name: str) -> bytes:
    return changed(CHANGES[name][0]) if name in CHANGES else with_digest(BYTES[name][0])

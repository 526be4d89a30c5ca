"""The one way into an ONNX file that anybody may have made: only such graphs as ``export`` writes are let through.

The digest in the file shows damage, not who made it, and onnxruntime runs what it is given: loops, operators of its
own, tensors out of other files, gigabytes in ten bytes. So the file is parsed here first, by ``onnx``, the library
that wrote it, and held against what our exporter writes: which parts there are, operators, types, and the shape of all
that is computed. Nothing is left out of that, since the parts are listed that may be there, not those that may not;
and what is run is the parsed graph written anew, so no byte counts that was not looked at.

Protobuf alone would be 20 MB lighter, but its readers are made from a schema that we would have to carry and keep. The
library takes a tenth of a second to import, so a released file, which is known by its digest, is not looked into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from mnist_dvc.data.arrays import CLASSES, SIDE
from mnist_dvc.errors import ArtifactError
from mnist_dvc.operators import INPUT, OPERATORS, OUTPUT, Constant, UnfitError, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mnist_dvc.operators import Attribute, Operand, Result

__all__ = ["PROPERTIES", "checked"]

PROPERTIES = ("network", "dataset", "data_digest", "model_sha256", "classes", "sha256")
"""What a file says of itself; onnxruntime would take options of its own from others."""
LONGEST_PROPERTY = 2_000
"""Characters; ten names of classes take 800."""
EXPECTED = "what `export` writes"
OPSETS = range(18, 24)
IR_VERSIONS = range(8, 14)
"""Of the file format; that of opset 18 is the first, and what is new in later ones has fields that are refused."""
MOST_PARTS = 10_000
"""Messages in a file; the reference network takes 1,347."""
MOST_ENTRIES = 64
"""In a list of names or numbers: the inputs of an operator, the axes of a tensor."""
MOST_VALUES = 2**20
"""Numbers computed for one image, 4 MB of memory at most; the reference network takes 117,526."""
MOST_WORK = 2**28
"""Multiply-adds for one image; the compact network takes 2.6 million."""
FIELDS: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "ModelProto": "ir_version producer_name producer_version opset_import graph metadata_props",
        "OperatorSetIdProto": "domain version",
        "StringStringEntryProto": "key value",
        "GraphProto": "name node initializer input output value_info",
        "NodeProto": "name op_type input output attribute",
        "AttributeProto": "name type i f s ints",
        "TensorProto": "name data_type dims raw_data",
        "ValueInfoProto": "name type",
        "TypeProto": "tensor_type",
        "Tensor": "elem_type shape",
        "TensorShapeProto": "dim",
        "Dimension": "dim_value dim_param",
    }.items()
}
"""All that may be set in each kind of message: no functions, subgraphs, sparse or outside tensors, other domains."""
ATTRIBUTES: Mapping[int, tuple[str, type]] = {
    onnx.AttributeProto.INT: ("i", int),
    onnx.AttributeProto.FLOAT: ("f", float),
    onnx.AttributeProto.STRING: ("s", str),
    onnx.AttributeProto.INTS: ("ints", tuple),
}
TENSORS: Mapping[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
}
_STRING = 9
"""Protobuf's number of the type; one that is not UTF-8 comes as bytes."""


def checked(content: bytes, where: Path) -> bytes:
    """The graph in ``content``, if our exporter could have written it, as the bytes of a file that holds no more.

    Args:
        content: an ONNX file of a size that is bounded.
        where: the file, for errors.

    Raises:
        ArtifactError: it is none, or holds something that our exporter does not write, or more of it.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's error, and protobuf is no dependency of ours
        raise ArtifactError(where, "content", got="no protobuf", expected=EXPECTED) from error
    model.DiscardUnknownFields()
    for number, (place, part) in enumerate(_parts(model, "model")):
        if number == MOST_PARTS:
            raise ArtifactError(where, "parts", got=f"more than {MOST_PARTS:,}", expected=EXPECTED)
        _refuse_other_fields(part, f"{where}: {place}")
    _refuse_other_versions(model, where)
    _refuse_other_properties(model, where)
    _refuse_other_interface(model.graph, where)
    _refuse_other_graph(model.graph, where)
    model.graph.ClearField("value_info")  # shapes that the file claims; onnxruntime finds them for itself
    return bytes(model.SerializeToString(deterministic=True))


def _parts(message: Any, place: str) -> Iterator[tuple[str, Any]]:
    """``message`` and every message within it, each where it stands; those of kinds that are refused not entered."""
    yield place, message
    for field, value in message.ListFields():
        if field.message_type is None or field.name not in FIELDS.get(message.DESCRIPTOR.name, ()):
            continue
        several = not hasattr(value, "ListFields")
        for number, inner in enumerate(value if several else (value,)):
            yield from _parts(inner, f"{place}.{field.name}[{number}]" if several else f"{place}.{field.name}")


def _refuse_other_fields(message: Any, place: str) -> None:
    allowed = FIELDS[message.DESCRIPTOR.name]
    for field, value in message.ListFields():
        if field.name not in allowed:
            raise ArtifactError(place, "field", got=field.name, expected=f"none but {', '.join(sorted(allowed))}")
        if field.message_type is not None or isinstance(value, int | float):
            continue
        texts = (value,) if isinstance(value, str | bytes) else value
        if texts is value and len(texts) > MOST_ENTRIES:
            raise ArtifactError(place, field.name, got=f"{len(texts):,} entries", expected=f"at most {MOST_ENTRIES}")
        if field.type == _STRING and not all(isinstance(text, str) for text in texts):
            raise ArtifactError(place, field.name, got="bytes that are no UTF-8", expected="text")


def _refuse_other_versions(model: onnx.ModelProto, where: Path) -> None:
    if model.ir_version not in IR_VERSIONS:
        expected = f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise ArtifactError(where, "version of the format", got=model.ir_version, expected=expected)
    sets = [(entry.domain, entry.version) for entry in model.opset_import]
    if len(sets) != 1 or sets[0][0] != "" or sets[0][1] not in OPSETS:
        got = ", ".join(f"{domain or 'ONNX'} {version}" for domain, version in sets[:MOST_ENTRIES]) or "none"
        expected = f"those of ONNX alone, {OPSETS[0]} to {OPSETS[-1]}"
        raise ArtifactError(where, "sets of operators", got=got, expected=expected)


def _refuse_other_properties(model: onnx.ModelProto, where: Path) -> None:
    keys = [entry.key for entry in model.metadata_props]
    for entry in model.metadata_props:
        if entry.key not in PROPERTIES or keys.count(entry.key) > 1:
            expected = f"{', '.join(PROPERTIES)}, each once"
            raise ArtifactError(where, "property", got=entry.key, expected=expected)
        if len(entry.value) > LONGEST_PROPERTY:
            got, expected = f"{len(entry.value):,} characters", f"at most {LONGEST_PROPERTY:,}"
            raise ArtifactError(where, f"property {entry.key}", got=got, expected=expected)


def _refuse_other_interface(graph: onnx.GraphProto, where: Path) -> None:
    """Any number of images of 28 x 28 bytes to as many rows of ten logits."""
    for what, infos, name, element, sizes in (
        ("input", graph.input, INPUT, "uint8", [1, SIDE, SIDE]),
        ("output", graph.output, OUTPUT, "float", [CLASSES]),
    ):
        got = [_described(info) for info in infos]
        if got != [(name, element, ["N", *sizes])]:
            told = ", ".join(f"{name} {element} {shape}" for name, element, shape in got[:MOST_ENTRIES]) or "none"
            expected = f"{name} {element} {['N', *sizes]}; run `export` again"
            raise ArtifactError(where, what, got=told.replace("'", ""), expected=expected.replace("'", ""))


def _described(info: onnx.ValueInfoProto) -> tuple[str, str, list[int | str]]:
    """Name, type of numbers and shape, in which every size that is left open is called N."""
    tensor = info.type.tensor_type
    known = tensor.elem_type in onnx.TensorProto.DataType.values()
    element = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if known else "unknown"
    sizes = [dim.dim_value if dim.HasField("dim_value") else "N" for dim in tensor.shape.dim]
    return info.name, element, sizes


def _refuse_other_graph(graph: onnx.GraphProto, where: Path) -> None:
    """Follow an image from node to node, each of which takes only what stands before it, so that there is an end."""
    known: dict[str, Operand] = {INPUT: Value((1, SIDE, SIDE), pixels=True)}
    for number, tensor in enumerate(graph.initializer):
        place = f"{where}: tensor {number} {tensor.name!r}"
        _define(known, tensor.name, _constant(tensor, place), place)
    computed = work = 0
    for number, node in enumerate(graph.node):
        place = f"{where}: node {number} {node.op_type!r}"
        result = _result(node, known, place)
        for name, shape in zip(node.output, result.shapes, strict=True):
            _define(known, name, Value(shape), place)
        computed, work = computed + sum(map(_size, result.shapes)), work + result.work
        for what, got, most in (("numbers", computed, MOST_VALUES), ("multiply-adds", work, MOST_WORK)):
            if got > most:
                told = f"more than {most:,} of an image"
                raise ArtifactError(place, f"{what} computed", got=told, expected=EXPECTED)
    if known.get(OUTPUT) != Value((CLASSES,)):
        raise ArtifactError(where, "output", got=f"{known.get(OUTPUT)}", expected=f"{CLASSES} {OUTPUT} of each image")


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))  # of Python's integers, which do not wrap around


def _define(known: dict[str, Operand], name: str, operand: Operand, place: str) -> None:
    if not name or name in known:
        raise ArtifactError(place, "name", got=f"{name!r}, of something else", expected="another for each")
    known[name] = operand


def _constant(tensor: onnx.TensorProto, place: str) -> Constant:
    """What is known of a tensor in the file.

    Raises:
        ArtifactError: its type is none of ours, its bytes are not those of its shape, or it is not finite.
    """
    shape = tuple(tensor.dims)
    if tensor.data_type not in TENSORS:
        raise ArtifactError(place, "type", got=tensor.data_type, expected="float32 (1) or int64 (7)")
    element = TENSORS[tensor.data_type]
    bytes_wanted = _size(shape) * element.itemsize
    if min(shape, default=1) < 1 or len(tensor.raw_data) != bytes_wanted:
        got = f"shape {shape} in {len(tensor.raw_data):,} bytes"
        raise ArtifactError(place, "values", got=got, expected=f"{element.itemsize} bytes for each")
    if tensor.data_type == onnx.TensorProto.INT64:
        return Constant(shape, tuple(np.frombuffer(tensor.raw_data, element)[: MOST_ENTRIES + 1].tolist()))
    if not np.isfinite(np.frombuffer(tensor.raw_data, element)).all():
        raise ArtifactError(place, "values", got="NaN or infinity", expected="finite numbers")
    return Constant(shape)


def _result(node: onnx.NodeProto, known: Mapping[str, Operand], place: str) -> Result:
    """What ``node`` makes of what is ``known`` before it.

    Raises:
        ArtifactError: it is an operator that our exporter does not write, or one that it writes otherwise.
    """
    if node.op_type not in OPERATORS:
        raise ArtifactError(place, "operator", got=node.op_type, expected=f"one of {', '.join(OPERATORS)}")
    missing = [name for name in node.input if name not in known]
    if missing:
        raise ArtifactError(place, "input", got=f"{missing[0]!r}", expected="one that is known before")
    operator, operands = OPERATORS[node.op_type], [known[name] for name in node.input]
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    fit = {
        name: value
        for name, value in attributes.items()
        if value is not None and isinstance(value, operator.attributes.get(name, ()))
    }
    expected = "attributes and shapes that `export` writes"
    try:
        if len(fit) != len(node.attribute):
            raise UnfitError  # noqa: TRY301  (the same words as for the rule)
        result = operator.rule(operands, fit)
        if len(result.shapes) != len(node.output):
            raise UnfitError  # noqa: TRY301
    except (UnfitError, ValueError) as error:  # too many or too few operands
        shown = [operand.shape for operand in operands]
        told = ", ".join(f"{name}={value}" for name, value in attributes.items())
        raise ArtifactError(place, "use", got=f"{told} of {shown}", expected=expected) from error
    return result


def _attribute(attribute: onnx.AttributeProto) -> Attribute | None:
    """Its value, where it has the one of its type and no other; None where it has not, or the number is not finite."""
    field, kind = ATTRIBUTES.get(attribute.type, ("", type(None)))
    if {told.name for told, _ in attribute.ListFields()} - {"name", "type"} - {field} or not field:
        return None
    value: Any = getattr(attribute, field)
    if kind is str:
        return str(value, "ascii", "replace")
    if kind is float and not np.isfinite(value):
        return None
    return tuple(value) if kind is tuple else kind(value)

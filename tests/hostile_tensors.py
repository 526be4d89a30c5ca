"""Safetensors files as someone who means ill would hand them over, with the digest that belongs to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mnist_dvc.files import BLANK, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    Header = dict[str, Any]
    Change = Callable[[Header, bytes], tuple[Header | bytes, bytes]]

KEY = "mnist_dvc"


def parts(content: bytes) -> tuple[Header, bytes]:
    """The header of a safetensors file, and what follows it."""
    start = 8 + int.from_bytes(content[:8], "little")
    header: Header = json.loads(content[8:start])
    return header, content[start:]


def framed(header: Header | bytes, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file of these, which says that its header is ``length`` bytes long, if it is to lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def resealed(content: bytes) -> bytes:
    """``content`` with its right SHA-256 in place of the one that its metadata tells."""
    told = json.loads(parts(content)[0]["__metadata__"][KEY])
    blank = content.replace(told["sha256"].encode(), BLANK.encode(), 1)
    return blank.replace(BLANK.encode(), sha256(blank).encode(), 1)


def told(**changes: Any) -> Change:
    """Other values under the keys of what the metadata tell."""

    def change(header: Header, body: bytes) -> tuple[Header, bytes]:
        header["__metadata__"][KEY] = json.dumps(json.loads(header["__metadata__"][KEY]) | changes)
        return header, body

    return change


def entry(name: str, **changes: Any) -> Change:
    """Other values in the entry of the tensor ``name``."""

    def change(header: Header, body: bytes) -> tuple[Header, bytes]:
        header[name] = {key: value for key, value in (header[name] | changes).items() if value is not None}
        return header, body

    return change


def more(dtype: str, shape: list[int], size: int = 0, name: str = "more") -> Change:
    """A tensor more, of ``size`` bytes behind the others."""

    def change(header: Header, body: bytes) -> tuple[Header, bytes]:
        offsets = [len(body), len(body) + size]
        return header | {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, body + bytes(size)

    return change


def without(name: str) -> Change:
    """No entry of that name."""
    return lambda header, body: ({key: value for key, value in header.items() if key != name}, body)


def bare(text: bytes) -> Change:
    """A header of these very bytes."""
    return lambda _, body: (text, body)


def twice(name: str, **changes: Any) -> Change:
    """The key ``name`` a second time, of other values: which of them counts is for each reader to say."""

    def change(header: Header, body: bytes) -> tuple[bytes, bytes]:
        second = json.dumps({name: header[name] | changes}).encode()
        return json.dumps(header).encode()[:-1] + b", " + second[1:], body

    return change


def changed(content: bytes, change: Change) -> bytes:
    """``content`` after ``change``, with no digest set right."""
    return framed(*change(*parts(content)))

"""Files as accidents and strangers leave them: flipped bits, cuts, and values of a record that are none."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["flips_and_cuts", "hostile_json", "spelt", "wrong_values"]

WRONG: tuple[Any, ...] = (True, [1], {"a": 1}, -1, -0.5, math.nan, math.inf, None, [], "\x1b[31m|")
"""For any value of a record; which of them a text or an empty one may be is told where it is used."""


def flips_and_cuts(content: bytes, flips: int, cuts: int, seed: int = 0) -> Iterator[bytes]:
    """``content`` with a bit flipped, ``flips`` times, and cut short, ``cuts`` times, wherever chance has it."""
    draw = np.random.default_rng(seed)
    for bit in draw.choice(8 * len(content), flips, replace=flips > 8 * len(content)).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    for length in draw.choice(len(content), cuts, replace=cuts > len(content)).tolist():
        yield content[:length]


def spelt(told: object) -> bytes:
    """``told`` as our JSON, and what JSON cannot say as Python spells it."""
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def hostile_json(content: bytes) -> dict[str, bytes]:
    """What no record is, by name; ``content`` is one."""
    told = json.loads(content)
    key = next(iter(told))
    return {
        "empty": b"",
        "page": b"<html>" * 100,
        "NUL": b"\0" * 100,
        "null": b"null\n",
        "number": b"7\n",
        "list": b"[]\n",
        "list of it": spelt([told]),
        "no key": b"{}\n",
        "deep": b"[" * 60_000,
        "deep mappings": b'{"a":' * 60_000,
        "large": content + b" " * 2**21,
        "many digits": content.replace(b": ", b": " + b"9" * 10_000, 1),
        "exponent": content.replace(b": ", b": 1e999, ", 1),
        "UTF-16": content.decode().encode("utf-16"),
        "mark of UTF-8": b"\xef\xbb\xbf" + content,
        "no UTF-8": content.replace(b'"', b'"\xff', 1),
        "half a pair": spelt({**told, key: "\ud800"}),
        "lines of Windows": content.replace(b"\n", b"\r\n"),
        "on one line": json.dumps(told).encode(),
        "something after": content + b"{}",
        "space after": content + b" ",
        "no last line": content[:-1],
        "comma": content.replace(b"\n}", b",\n}"),
        "key twice": content.replace(b"{", b'{\n  "' + key.encode() + b'": 1,', 1),
        "key more": spelt({**told, "more": 1}),
        "key of another kind": spelt({**told, "__class__": "os.system"}),
        "key less": spelt({name: value for name, value in told.items() if name != key}),
        "comment": b"// ours\n" + content,
        "pickle": b"\x80\x04}\x94.",
        "YAML": b"seed: 1\n",
    }


def wrong_values(told: Mapping[str, Any]) -> Iterator[tuple[str, Any, bytes]]:
    """The record ``told`` with each of its values in turn as each of ``WRONG``: key, value, file."""
    for key in told:
        for value in WRONG:
            yield key, value, spelt({**told, key: value})

"""Prints docs/params.md, made of the params classes and params.yaml: `python docs/params_page.py > docs/params.md`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

# The words of the refusals, so that the page and the errors cannot differ.
from mnist_dvc.params import Params, _expected, _schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
HEAD = """\
# Params

Every key of [params.yaml](../params.yaml), in its order. All must be there, and no other; a value of another type or
out of range is refused before any work, with these very words. `dvc exp run -S train.epochs=3` changes one for a run
([dvc.md](dvc.md)); every command that reads them takes `-S`, too, as in `mnist-dvc train -S train.epochs=3`, and leaves
the file as it is. It is read by the rules of YAML 1.2, as DVC reads it: `1e-3` is a number, `no` a text.

This page is made of the classes in [mnist_dvc/params.py](../mnist_dvc/params.py) by `python docs/params_page.py`."""
LINE = re.compile(r"^( *)(\w+): *([^#\n]*?) *(?:# (.*))?$", re.MULTILINE)


def written(text: str) -> dict[str, tuple[str, str]]:
    """The value and the comment of each dotted key of a params file, as they stand there."""
    found, parents = {}, [""]
    for indent, name, value, comment in LINE.findall(text):
        del parents[len(indent) // 2 + 1 :]
        key = f"{parents[-1]}{name}"
        parents.append(f"{key}.")
        found[key] = (value, comment)
    return found


def rows(section: type[BaseModel], prefix: str, file: dict[str, tuple[str, str]]) -> Iterator[str]:
    """A line of the table for each key of a section and of those within it."""
    for name, field in section.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows(kind, f"{key}.", file)
        else:
            value, comment = file[key]
            told = comment.replace("|", "\\|")
            yield f"| `{key}` | {_expected(_schema_of(key.split('.')))} | `{value}` | {told} |"


def page(text: str) -> str:
    """The whole page.

    Args:
        text: the content of params.yaml.
    """
    file, parts = written(text), [HEAD]
    for name, field in Params.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            raise TypeError(f"{name}: got {section}, expected a section")
        table = "\n".join(rows(section, f"{name}.", file))
        head = "| key | takes | in params.yaml | what |\n|---|---|---|---|"
        parts.append(f"## {name}\n\n{inspect.getdoc(section)}\n\n{head}\n{table}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(PARAMS.read_text(encoding="utf-8")), end="")

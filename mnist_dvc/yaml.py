"""YAML as people write params: plain values under names; what only hostile files do is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent

from mnist_dvc.errors import ParamsError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["parse_yaml"]

DEEPEST = 20
"""Levels of mappings and lists; the params have three, and the YAML reader takes quadratic time in them."""


def parse_yaml(content: bytes, where: object) -> Any:
    """The value of ``content`` by the rules of YAML 1.2, as DVC reads it.

    Args:
        content: UTF-8.
        where: it stands, for a refusal.

    Raises:
        ParamsError: it is no YAML, or more of it than params have a use for.
    """
    try:
        return _load_yaml(content)
    except MarkedYAMLError as error:
        raise ParamsError(where, [f"not valid YAML: {_place(error.problem_mark)}{_told(error)}"]) from error
    # Beside its own errors ruamel lets through those of int(), float(), datetime() and of a key that cannot be hashed.
    except (YAMLError, ValueError, ArithmeticError, TypeError) as error:
        raise ParamsError(where, [f"not valid YAML: {' '.join(str(error).split())}"]) from error


def _load_yaml(content: bytes) -> Any:
    """The value of ``content``, no larger than its text: an alias would let a few lines stand for gigabytes."""
    text = content.decode("utf-8")
    _check_plain(YAML(typ="safe", pure=True).parse(text))
    return YAML(typ="safe", pure=True).load(text)


def _check_plain(events: Iterable[Any]) -> None:
    """Refuse what params have no use for and hostile files do: aliases, tags, directives, endless nesting.

    Raises:
        MarkedYAMLError: at the first of them, before the reader has gone further.
    """
    depth = 0
    for event in events:
        if isinstance(event, CollectionStartEvent | CollectionEndEvent):
            depth += 1 if isinstance(event, CollectionStartEvent) else -1
        if isinstance(event, NodeEvent) and event.anchor is not None:
            named = "alias *" if isinstance(event, AliasEvent) else "anchor &"
            _refuse(event, f"the {named}{event.anchor}; write the value out")
        if getattr(event, "tag", None) is not None:
            _refuse(event, f"the tag {event.tag}; the kind of a value is told by its key")
        if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            _refuse(event, "a %YAML or %TAG line; the rules are those of YAML 1.2")
        if depth > DEEPEST:
            _refuse(event, f"more than {DEEPEST} levels of nesting")


def _refuse(event: Any, what: str) -> NoReturn:
    raise MarkedYAMLError(problem=f"got {what}", problem_mark=event.start_mark)


def _place(mark: Any) -> str:
    """``line 3, column 5: ``, both counted from 1, or nothing where ruamel does not say."""
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _told(error: MarkedYAMLError) -> str:
    """What ruamel was doing, if it says, and what it met; not its excerpt of the file."""
    return ", ".join(" ".join(str(part).split()) for part in (error.context, error.problem) if part)

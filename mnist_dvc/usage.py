"""How the command line takes params and speaks of itself: `--set`, `--debug` anywhere, help without types."""

from __future__ import annotations

import contextlib
import difflib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from mnist_dvc.errors import ParamsError
from mnist_dvc.params import Change, load_params, param_keys
from mnist_dvc.room import refuse_little_room

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typer._click.core import Context

    from mnist_dvc.params import Params

__all__ = [
    "DEBUG",
    "DEFAULT_PARAMS",
    "Command",
    "ModelOption",
    "ParamsOption",
    "Program",
    "SetOption",
    "fraction",
    "given_folder",
    "given_path",
    "key_meant",
    "loaded_params",
    "some_name",
    "told_of",
]

DEBUG, SET = "--debug", "--set"


def _keys_from(incomplete: str) -> list[str]:
    """What a shell may complete ``-S`` to."""
    return [f"{key}=" for key in param_keys() if key.startswith(incomplete)]


def fraction(value: float) -> float:
    """A number from 0 to 1; the range of an option would let NaN through."""
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"got {value:g}, expected a number from 0 to 1")
    return value


def some_name(value: str) -> str:
    """A text that is not empty; as an address, that would be all of them."""
    if not value:
        raise typer.BadParameter("got an empty text, expected a name or an address")
    return value


def given_path(text: str) -> Path:
    """A path that an option or argument names; an empty one would be the working folder, which nobody named."""
    if not text:
        raise typer.BadParameter("got an empty text, expected a path")
    return Path(text)


def given_folder(text: str) -> Path:
    """The same of a folder, which need not be there."""
    path = given_path(text)
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"Directory '{text}' is a file.")
    return path


ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", parser=given_path, help="The params file.")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        parser=given_path,
        help="A trained model (.onnx, .safetensors) or a released one (compact, reference); else models/'s.",
    ),
]
DEFAULT_PARAMS = Path("params.yaml")
SetOption = Annotated[
    list[str],
    typer.Option(
        SET,
        "-S",
        metavar="KEY=VALUE",
        default_factory=list,
        show_default=False,
        autocompletion=_keys_from,
        help="Takes the place of a value in the params file, as train.epochs=5; may be given several times.",
    ),
]


class Command(TyperCommand):
    """A command whose unknown options may be those of a param."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Its arguments and options, as help and the parser ask for them."""
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """As everywhere, but ``--epochs 5`` is refused with ``-S train.epochs=5``."""
        known = [name for option in self.get_params(ctx) for name in option.opts]
        for name, value in _options(args) if SET in known else ():
            key = None if name in known else key_meant(name, str(ctx.info_name))
            if key is not None and (_names(name, key) or not difflib.get_close_matches(name, known)):
                ctx.fail(f"No such option: {name}. Did you mean -S {key}={value}?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Context) -> Any:
        """As everywhere, but where there is no working folder or too little memory for any command, none begins."""
        _refuse_no_folder()
        refuse_little_room()
        return super().invoke(ctx)


def _refuse_no_folder() -> None:
    """A shell may stand in a folder that was removed, where torch cannot even be loaded.

    Raises:
        OSError: it names the working folder.
    """
    try:
        Path.cwd()
    except OSError as error:
        error.filename = "working folder"
        raise


class Program(TyperGroup):
    """All commands, with the options that each of them takes."""

    def get_params(self, ctx: Context) -> list[Any]:
        """Its options, as help and the parser ask for them."""
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """As everywhere, but without ``--debug``, which is read where an error is reported."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [word for word in args[:end] if word != DEBUG] + args[end:])


def _without_types(parameters: Sequence[Any]) -> list[Any]:
    """A flag takes no value, and the name of an argument tells what it is: `<bool>` says nothing."""
    for parameter in parameters:
        if isinstance(parameter, TyperArgument) or (isinstance(parameter, TyperOption) and parameter.is_flag):
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005
    return list(parameters)


def _options(args: Sequence[str]) -> list[tuple[str, str]]:
    """Long options and what stands after each, up to ``--``."""
    end = args.index("--") if "--" in args else len(args)
    found = []
    for word, after in pairwise([*args[:end], ""]):
        name, sign, value = word.partition("=")
        if name.startswith("--"):
            found.append((name, value if sign else after if after and not after.startswith("--") else "VALUE"))
    return found


def key_meant(option: str, command: str) -> str | None:
    """The key that ``--learning-rate`` or ``--train.epoch`` names or nearly names, first those of the command."""
    name = _name(option)
    keys = sorted(param_keys(), key=lambda key: (not key.startswith(f"{command}."), not key.startswith("train.")))
    named = {spelling: key for key in reversed(keys) for spelling in (key, key.rpartition(".")[2])}
    near = difflib.get_close_matches(name, named, n=1)
    return named.get(name) or (named[near[0]] if near else None)


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _names(option: str, key: str) -> bool:
    """Whether ``option`` is ``key`` or its last part, without a misspelling."""
    return f".{key}".endswith(f".{_name(option)}")


@contextlib.contextmanager
def loaded_params(
    path: Path, changes: list[str], seed: int | None = None, network: str | None = None
) -> Iterator[Params]:
    """The params of a command, in the body of which a refusal of them is told of the file or option that said it.

    Args:
        path: the params file.
        changes: what ``--set`` gives in place of its values, as ``train.epochs=5``.
        seed: takes the place of ``train.seed``, if given.
        network: takes the place of ``model.name``, if given.

    Raises:
        ParamsError: as :func:`mnist_dvc.params.load_params`, or as the body.
    """
    options = [Change("train.seed", seed, "--seed"), Change("model.name", network, "--network")]
    given = [option for option in options if option.value is not None]
    loaded = load_params(path, [*map(Change.parse, changes), *given])
    try:
        yield loaded
    except ParamsError as error:
        raise loaded.placed(error) from error


@contextlib.contextmanager
def told_of(option: str, key: str) -> Iterator[None]:
    """Around what refuses the value of ``key``: it speaks of the ``option`` that gave it."""
    try:
        yield
    except ParamsError as error:
        raise ParamsError(option, [*error.problems], {key: option}) from error

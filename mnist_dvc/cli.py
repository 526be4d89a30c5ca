"""The command line: arguments in, exit codes out; everything else is a stage's business.

Stages are imported by the command that needs them, so that ``--help`` costs no second and no torch.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mnist_dvc import __version__
from mnist_dvc.errors import MnistDvcError
from mnist_dvc.params import load_params
from mnist_dvc.stages.paths import Paths

__all__ = ["app", "main"]

PROGRAM = "mnist-dvc"
EXIT_INTERNAL, EXIT_IO = 70, 74

app = typer.Typer(
    name=PROGRAM,
    help="Train, prove and ship a handwritten-digit classifier under 20,000 parameters. `dvc repro` runs all stages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ParamsOption = Annotated[Path, typer.Option("--params", metavar="FILE", help="The params file.")]
DEFAULT_PARAMS = Path("params.yaml")


def _version(wanted: bool) -> None:  # noqa: FBT001  (typer passes it so)
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command; ``--debug`` is read where the error arrives."""


@app.command()
def prepare(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Find the digits, split them, write data/prepared/."""
    loaded = load_params(params)
    from mnist_dvc.stages.prepare import prepare as run

    run(loaded, Paths())


@app.command()
def train(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Train on the prepared digits, write models/, reports/train/, checkpoints/ and runs/."""
    loaded = load_params(params)
    from mnist_dvc.stages.train import train as run

    run(loaded, Paths())


@app.command()
def evaluate(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Score the trained model on the test images, write reports/test/."""
    loaded = load_params(params)
    from mnist_dvc.stages.evaluate import evaluate as run

    run(loaded, Paths())


@app.command()
def summary(
    *,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="A registered network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Show parameters, shapes and multiply-adds of a network (default: the one in the params file)."""
    name = model if model is not None else load_params(params).model.name
    from mnist_dvc.stages.summary import summary as run

    run(name, as_json=as_json)


def main() -> NoReturn:
    """Run the command line and exit: 0 done, otherwise the code of the error, whose lines go to standard error."""
    sys.exit(_run())


def _run() -> int:
    try:
        app(prog_name=PROGRAM)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except MnistDvcError as error:
        return _report(str(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"{where}{error.strerror or error}", EXIT_IO)
    except MemoryError:
        return _report("out of memory; a smaller batch_size needs less", EXIT_IO)
    except Exception as error:  # noqa: BLE001  (a defect of ours; the traceback is what its report needs)
        traceback.print_exc()
        return _report(f"internal error: {type(error).__name__}: {error}", EXIT_INTERNAL)
    return 0


def _report(message: str, code: int) -> int:
    """Print each line of ``message`` on standard error, after the traceback if ``--debug`` was given."""
    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    for line in message.splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return code

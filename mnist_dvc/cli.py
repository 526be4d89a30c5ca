"""The command line: the commands and their options; everything else is a stage's business.

Stages are imported by the command that needs them, so that ``--help`` costs no second and no torch.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_dvc.codebase import as_begun
from mnist_dvc.paths import Paths
from mnist_dvc.streams import outlive_output
from mnist_dvc.usage import (
    DEBUG,
    DEFAULT_PARAMS,
    Command,
    ModelOption,
    ParamsOption,
    Program,
    SetOption,
    fraction,
    given_folder,
    given_path,
    loaded_params,
    some_name,
    told_of,
)
from mnist_dvc.version import __version__

if TYPE_CHECKING:
    from typer._click.core import Context

__all__ = ["PROGRAM", "app"]

PROGRAM = "mnist-dvc"

app = typer.Typer(
    name=PROGRAM,
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, prove and ship a handwritten-digit classifier under 20,000 parameters. `dvc repro` runs all stages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class WritingCommand(Command):
    """A command whose product are files: it outlives the console, and takes note of what it is made of."""

    def invoke(self, ctx: Context) -> Any:
        """Run it; what it prints may be lost from here on, unlike its help."""
        outlive_output()
        as_begun()  # before any of it is imported
        return super().invoke(ctx)


command = functools.partial(app.command, cls=WritingCommand)


def _version(wanted: bool) -> None:  # noqa: FBT001  (typer passes it so)
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command; ``--debug`` is read where the error arrives."""


@command()
def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", parser=given_path, help="Where to; made if absent.", show_default="here"),
    ] = Path(),
) -> None:
    """Begin a project in a folder: params.yaml and a dvc.yaml by which `dvc repro` runs this installation."""
    from mnist_dvc.pipeline.init import init as run

    run(folder)


@command()
def prepare(changes: SetOption, params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Find the digits, split them, write data/prepared/."""
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.pipeline.prepare import prepare as run

        run(loaded, Paths())


@command()
def train(
    *,
    changes: SetOption,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of going on from a snapshot.")] = False,
    snapshot_every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Time between snapshots within an epoch.")
    ] = 30.0,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Train on the prepared digits, write models/, reports/train/, checkpoints/ and runs/.

    A training that was stopped or killed goes on where it was, to the same bits, when the same command runs again.
    """
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.pipeline.train import train as run

        run(loaded, Paths(), fresh=fresh, snapshot_every=snapshot_every)


@command()
def evaluate(changes: SetOption, params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Score the trained model on the test images, write reports/test/."""
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.pipeline.evaluate import evaluate as run

        run(loaded, Paths())


@command()
def export(changes: SetOption, params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Write the trained model as models/model.onnx, if it answers there as in PyTorch."""
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.pipeline.export import export as run

        run(loaded, Paths())


@command()
def report(changes: SetOption, params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Write reports/report.html: figures, charts, every mistake and the recipe on one page that needs no other file."""
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.pipeline.report import report as run

        run(loaded, Paths())


@app.command(cls=Command)
def summary(
    *,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="A registered network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    changes: SetOption,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Show parameters, shapes and multiply-adds of a network (default: the one in the params file)."""
    if model is not None and changes:
        raise typer.BadParameter("--model asks no params file.", param_hint="--set")
    from mnist_dvc.pipeline.summary import summary as run

    if model is None:
        with loaded_params(params, changes) as loaded:
            run(loaded.model.name, as_json=as_json)
    else:
        with told_of("--model", "model.name"):
            run(model, as_json=as_json)


@app.command(cls=Command)
def predict(
    *,
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Picture files, folders of them, or - for standard input."),
    ],
    many: Annotated[bool, typer.Option("--many", help="Read all digits of a picture, line by line.")] = False,
    at_least: Annotated[
        float, typer.Option(metavar="P", callback=fraction, help="Refuse answers less sure than this, 0 to 1.")
    ] = 0.0,
    show: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=given_folder, help="Write there what was found and what the network saw of it."
        ),
    ] = None,
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line instead of a table.")] = False,
) -> None:
    """Tell which digits pictures show; what cannot be read gets its line, too, and ends in 65."""
    from mnist_dvc.pipeline.predict import predict as run
    from mnist_dvc.pipeline.predict import published_model

    chosen = model or published_model(Paths())
    run(pictures, chosen, as_json=as_json, many=many, show=show, at_least=at_least)


@command()
def demo(
    *,
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(metavar="NAME", callback=some_name, help="Another one may let others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes any that is free.")] = 8028,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only tell where the page is.")] = False,
) -> None:
    """Draw digits in the browser and see what the network answers; Ctrl-C ends it, in 0."""
    from mnist_dvc.demo.server import demo as run
    from mnist_dvc.pipeline.predict import published_model

    run(model or published_model(Paths()), host=host, port=port, browser=not no_browser)


@command(hidden=True)
def code() -> None:
    """Write code.json: what each stage of the pipeline is made of in this installation; for the dvc.yaml of `init`."""
    from mnist_dvc.pipeline.init import code as run

    run(Paths())


study = typer.Typer(
    cls=Program,
    help="The stages of the studies in studies/, each run in its folder by `dvc repro`.",
    no_args_is_help=True,
)
app.add_typer(study, name="study")
of_studies = functools.partial(study.command, cls=WritingCommand)

LARGEST_SEED = 2**63 - 1
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Takes the place of train.seed.")]
NetworkOption = Annotated[str | None, typer.Option("--network", metavar="NAME", help="Takes the place of model.name.")]


@of_studies()
def trial(
    *,
    seed: SeedOption,
    changes: SetOption,
    network: NetworkOption = None,
    teaching: Annotated[
        Path | None,
        typer.Option(
            "--teaching", metavar="FILE", parser=given_path, help="Answers of teachers, if not this study's own."
        ),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Train one network with one seed, score it once on the test images, write trials/NETWORK/SEED/."""
    with loaded_params(params, changes, seed, network) as loaded:
        from mnist_dvc.study.trial import trial as run

        run(loaded, Paths(), teaching=teaching)


@of_studies()
def teacher(*, seed: SeedOption, changes: SetOption, params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Train one teacher, which may be larger than the budget and sees no test image, write trials/NETWORK/SEED/."""
    with loaded_params(params, changes, seed) as loaded:
        from mnist_dvc.study.trial import teacher as run

        run(loaded, Paths())


@of_studies()
def candidate(
    *,
    question: Annotated[str, typer.Option(metavar="NAME", help="What is to be chosen.")],
    recipe: Annotated[str, typer.Option(metavar="NAME", help="What this candidate is called.")],
    seed: SeedOption,
    changes: SetOption,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher", metavar="MODEL", parser=given_path, help="One of its teachers, to compare it with; repeatable."
        ),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Train one candidate for a recipe, score it on the images held out, write candidates/QUESTION/RECIPE/SEED/."""
    from mnist_dvc.study.records import check_file_name

    check_file_name("--question", question)
    check_file_name("--recipe", recipe)
    with loaded_params(params, changes, seed) as loaded:
        from mnist_dvc.study.trial import candidate as run

        run(loaded, Paths(), teachers or [], question=question, recipe=recipe)


@of_studies()
def teach(
    *,
    teachers: Annotated[
        list[Path], typer.Argument(metavar="MODEL", parser=given_path, help="Model files that `study teacher` wrote.")
    ],
    views: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Distorted versions of each training image.")
    ],
    changes: SetOption,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="Of the distortions.")] = 0,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Ask teachers about distorted versions of every training image, write data/teaching.safetensors."""
    with loaded_params(params, changes) as loaded:
        from mnist_dvc.study.kept import forget_unfit_views
        from mnist_dvc.study.teach import teach as run

        forget_unfit_views(Paths())
        run(loaded, Paths(), teachers, views=views, seed=seed)


@of_studies("summary")
def sum_up() -> None:
    """Sum up all trials of the study in this folder, write summary.json."""
    from mnist_dvc.study.complete import refuse_other_trials
    from mnist_dvc.study.summary import study_summary as run

    refuse_other_trials(Paths().root)
    run(Paths())


@of_studies("release")
def release_weights() -> None:
    """Copy the first seed of the studies to mnist_dvc/pretrained/; run it in the repository's root."""
    from mnist_dvc.study.release import release as run

    run(Path())


@of_studies("results")
def show_results() -> None:
    """Write README.md's table, docs/results.md and its figures from all summaries; run it in the repository's root."""
    from mnist_dvc.study.results import results as run

    run(Path())

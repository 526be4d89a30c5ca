"""What a stage has read, as one identity and one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from helpers import params, write_params

from mnist_dvc.errors import ChangedError, ParamsError
from mnist_dvc.params import Change, load_params
from mnist_dvc.running import inputs as module
from mnist_dvc.running.inputs import Inputs

if TYPE_CHECKING:
    from pathlib import Path

STAGE = "mnist_dvc.pipeline.train"
SECTIONS = ("model", "train")


@pytest.fixture
def read(tmp_path: Path) -> Inputs:
    """Params and a file, as a stage finds them."""
    write_params(tmp_path)
    (tmp_path / "data").write_bytes(b"digits")
    return again(tmp_path)


def again(folder: Path, *, machine: dict[str, Any] | None = None) -> Inputs:
    """What another run in ``folder`` reads."""
    files = (folder / "data", folder / "absent")
    return Inputs.of(STAGE, load_params(folder / "params.yaml"), SECTIONS, files, machine or {"threads": 1})


def test_identity_is_the_same_for_the_same_inputs_and_elsewhere(read: Inputs, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("params.yaml", "data"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
    assert again(tmp_path).identity == again(elsewhere).identity == read.identity
    assert again(elsewhere).name == read.name


@pytest.mark.parametrize("change", ["params", "file", "no file", "code", "machine"])
def test_any_other_input_has_another_identity(
    read: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before, machine = read.name, {"threads": 1}
    match change:
        case "params":
            write_params(tmp_path, seed=2)
        case "file":
            (tmp_path / "data").write_bytes(b"other digits")
        case "no file":
            (tmp_path / "data").unlink()
        case "code":
            monkeypatch.setattr(module, "code_digest", lambda _: "another")
        case "machine":
            machine = {"threads": 2}
    assert again(tmp_path, machine=machine).name != before


def test_sections_that_the_stage_does_not_read_count_for_nothing(read: Inputs, tmp_path: Path) -> None:
    write_params(tmp_path, sections={"evaluate": {"mistakes": 3}})
    assert again(tmp_path).identity == read.identity
    read.refuse_changes()


def test_single_keys_can_be_read(tmp_path: Path) -> None:
    write_params(tmp_path)
    chosen = load_params(tmp_path / "params.yaml")
    listed = Inputs.of(STAGE, chosen, ("train.threads", "train.augment")).identity["params"]
    assert listed == {"train.threads": 1} | {
        f"train.augment.{key}": value for key, value in chosen.train.augment.model_dump().items()
    }


def test_nothing_changed_is_not_refused(read: Inputs) -> None:
    """The twin of the tests below."""
    with read.publishing():
        pass


def change(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Change an input; returns what is said of it."""
    match what:
        case "params":
            write_params(folder, seed=2)
            return r"params\.yaml: train\.seed: got 2, expected 1, as it was read; put it back or start again"
        case "file":
            (folder / "data").write_bytes(b"other digits")
        case "no file":
            (folder / "data").unlink()
        case "new file":
            (folder / "absent").touch()
            return "absent: content: got another, expected the one that was read"
        case "code":
            monkeypatch.setattr(module, "changed_since_begun", lambda _: [folder / "augment.py"])
            return r"augment\.py: code: got another, expected the one that ran"
    return "data: content: got another, expected the one that was read"


KINDS = ["params", "file", "no file", "new file", "code"]


@pytest.mark.parametrize("kind", KINDS)
def test_change_is_refused_before_anything_is_published(
    read: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    words = change(kind, tmp_path, monkeypatch)
    with pytest.raises(ChangedError, match=words) as caught, read.publishing():
        pytest.fail("it was published")
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("kind", KINDS)
def test_change_during_the_publishing_never_ends_in_success(
    read: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with pytest.raises(ChangedError), read.publishing():
        change(kind, tmp_path, monkeypatch)


def test_params_that_are_no_longer_readable_are_refused_in_their_own_words(read: Inputs, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(ParamsError, match="file: got nothing"), read.publishing():
        pytest.fail("it was published")


def test_value_from_the_command_line_is_not_compared_with_the_file(tmp_path: Path) -> None:
    """A trial is given its seed as an argument: another one in the file is nothing to it."""
    write_params(tmp_path)
    changes = [Change("train.seed", 7, "--seed"), Change.parse("model.name=compact-1k")]
    given = Inputs.of(STAGE, load_params(tmp_path / "params.yaml", changes), SECTIONS)
    write_params(tmp_path, seed=2)
    given.refuse_changes()
    assert given.identity["params"]["train.seed"] == 7
    assert given.identity["params"]["model.name"] == "compact-1k"
    write_params(tmp_path, epochs=3)
    with pytest.raises(ChangedError, match=r"train\.epochs: got 3, expected 2"):
        given.refuse_changes()


def test_params_from_no_file_and_no_params_cannot_change() -> None:
    Inputs.of(STAGE, params(), SECTIONS).refuse_changes()
    Inputs.of("mnist_dvc.study.summary").refuse_changes()
    assert Inputs.of("mnist_dvc.study.summary").identity["params"] == {}

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mnist_dvc.errors import ParamsError
from mnist_dvc.params import Change, Params, load_params, param_keys

if TYPE_CHECKING:
    from pathlib import Path

COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")


def with_key(key: str, text: str) -> str:
    """The committed file with the value of ``key`` (the last part is unique in its section) replaced by ``text``."""
    lines = COMMITTED.splitlines()
    parts = key.split(".")
    at = -1
    for depth, part in enumerate(parts):
        at = next(i for i in range(at + 1, len(lines)) if lines[i].startswith(f"{'  ' * depth}{part}:"))
    lines[at] = f"{'  ' * (len(parts) - 1)}{parts[-1]}: {text}"
    return "\n".join(lines)


def problems(text: str, folder: Path) -> tuple[str, ...]:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.problems


def test_committed_file_is_valid() -> None:
    assert isinstance(load_params(ROOT / "params.yaml"), Params)


def test_exponents_without_a_point_are_numbers_as_in_dvc(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(with_key("train.weight_decay", "1e-05"), encoding="utf-8")
    assert math.isclose(load_params(path).train.weight_decay, 1e-5)


def test_whole_number_serves_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(with_key("train.augment.rotation", "10"), encoding="utf-8")
    assert load_params(path).train.augment.rotation == 10.0


WRONG = [
    ("train.epochs", "0", "got 0, expected a whole number from 1 to 10000"),
    ("train.epochs", "2.0", "got 2.0, expected a whole number"),
    ("train.epochs", "'20'", "got '20', expected a whole number"),
    ("train.epochs", "true", "got true, expected a whole number"),
    ("train.epochs", "", "got null, expected a whole number"),
    ("train.epochs", "[20]", "got [20], expected a whole number"),
    ("train.epochs", "99999999999999999999", "expected a whole number from 1 to 10000"),
    ("train.learning_rate", "0", "got 0, expected a number above 0.0 to 10.0"),
    ("train.learning_rate", "-0.1", "expected a number above 0.0"),
    ("train.learning_rate", ".nan", "got nan, expected a number above 0.0 to 10.0"),
    ("train.learning_rate", ".inf", "got inf, expected a number above 0.0 to 10.0"),
    ("train.learning_rate", "false", "got false, expected a number"),
    ("train.learning_rate", "fast", "got 'fast', expected a number"),
    ("train.warmup", "1.0", "expected a number from 0.0 below 1.0"),
    ("train.distillation", "1.1", "got 1.1, expected a number from 0.0 to 1.0"),
    ("train.distillation", "-0.1", "got -0.1, expected a number from 0.0 to 1.0"),
    ("train.clean_epochs", "-1", "got -1, expected a whole number from 0 to 10000"),
    ("train.clean_epochs", "1.5", "got 1.5, expected a whole number from 0 to 10000"),
    ("train.schedule", "linear", "got 'linear', expected one of onecycle, cosine"),
    ("train.device", "gpu", "got 'gpu', expected one of auto, cpu, cuda, mps"),
    ("train.device", "no", "got 'no', expected one of"),  # YAML 1.2: a text, where 1.1 has a truth value
    ("train.seed", "9223372036854775808", "expected a whole number from 0 to 9223372036854775807"),
    ("train.seed", "-1", "got -1, expected a whole number from 0"),
    ("train.augment.shift", "15", "got 15, expected a number from 0.0 to 14.0"),
    ("data.source", "''", "got '', expected a text that is not empty, of at most 1024 printable characters"),
    ("data.validation", "5", "got 5, expected 0, or a whole number from 10 to 30000"),
    ("data.validation", "30001", "got 30001, expected 0, or a whole number from 10 to 30000"),
    ("model.dropout", "0.95", "expected a number from 0.0 to 0.9"),
    ("evaluate.mistakes", "0", "got 0, expected a whole number from 1 to 100"),
    ("export.opset", "17", "got 17, expected a whole number from 18 to 23"),
    ("export.tolerance", "0", "got 0, expected a number above 0.0 to 1.0"),
]


@pytest.mark.parametrize(("key", "text", "expected"), WRONG, ids=[f"{key}={text}" for key, text, _ in WRONG])
def test_wrong_value_is_named_with_its_range(tmp_path: Path, key: str, text: str, expected: str) -> None:
    (problem,) = problems(with_key(key, text), tmp_path)
    assert problem.startswith(f"{key}: ")
    assert expected in problem


def test_value_in_place_of_a_section_is_refused(tmp_path: Path) -> None:
    head = COMMITTED[: COMMITTED.index("  augment:")]
    tail = COMMITTED[COMMITTED.index("evaluate:") :]
    (problem,) = problems(f"{head}  augment: none\n{tail}", tmp_path)
    assert problem.startswith("train.augment: got 'none', expected a mapping with the keys rotation, shift, scale")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = with_key("train.epochs", "0").replace("dropout:", "drop_out:").replace("validation: 5000", "validation: x")
    found = problems(text, tmp_path)
    assert sorted(problem.split(":")[0] for problem in found) == [
        "data.validation",
        "model.drop_out",
        "model.dropout",
        "train.epochs",
    ]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train.epoch", "train.epochs"),
        ("train.learning_rte", "train.learning_rate"),
        ("train.rotation", "train.augment.rotation"),
        ("train.scale", "train.augment.scale"),  # the very name elsewhere, though `schedule` beside it is near
        ("model.label_smoothing", "train.label_smoothing"),
        ("trian", "train"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(tmp_path: Path, wrong: str, right: str) -> None:
    section, _, name = wrong.rpartition(".")
    text = COMMITTED + f"{name}: 1\n" if not section else COMMITTED.replace(f"{section}:", f"{section}:\n  {name}: 1")
    assert problems(text, tmp_path) == (f"{wrong}: unknown key, did you mean {right}?",)


def test_unknown_key_without_a_likeness_gets_no_suggestion(tmp_path: Path) -> None:
    assert problems(COMMITTED + "zzz: 1\n", tmp_path) == ("zzz: unknown key",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "got null, expected a mapping with the keys data, model, train, evaluate, export"),
        ("[1, 2]", "got [1, 2], expected a mapping"),
        ("train:\n\tepochs: 1", "not valid YAML"),
        ("train: {epochs: 1", "not valid YAML"),
        ("data: 1\ndata: 2", "not valid YAML"),
        ("data: !!python/object/apply:os.system ['true']", "not valid YAML"),
        (COMMITTED.replace("  epochs:", "  epochs: 3\n  epochs:"), "not valid YAML"),
    ],
    ids=["empty", "list", "tab", "unclosed", "duplicate section", "python tag", "duplicate key"],
)
def test_what_is_no_params_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(text, tmp_path)[0]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00data")
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."], ids=["missing", "a folder"])
def test_file_that_cannot_be_read_is_a_params_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamsError, match="expected a params file"):
        load_params(tmp_path / name)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(key=st.sampled_from(param_keys()), value=values)
def test_any_value_of_any_key_is_valid_or_a_params_error(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(COMMITTED)
    section = content
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    try:
        loaded: Any = load_params(path)
    except ParamsError as error:
        assert all(
            problem.startswith((f"{key}: ", f"{key}.")) or "not valid YAML" in problem for problem in error.problems
        )
    else:
        for part in key.split("."):
            loaded = getattr(loaded, part)
        assert loaded == value


def refused(folder: Path, *texts: str) -> list[str]:
    """The lines about the committed file with values in place of its own."""
    path = folder / "params.yaml"
    path.write_text(COMMITTED, encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path, [Change.parse(text) for text in texts])
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


WRONG_CHANGES = {
    "train.epochs=abc": "got 'abc', expected a whole number from 1 to 10000",
    "train.epochs='5'": "got '5', expected a whole number from 1 to 10000",
    "train.epochs=": "got null, expected a whole number from 1 to 10000",
    "train.epoch=5": "unknown key, did you mean train.epochs?",
    "epochs=5": "unknown key, did you mean train.epochs?",
    "train.epochs.most=5": "unknown key",
    "=5": "unknown key",
    "train.epochs": "got no equals sign, expected KEY=VALUE, such as train.epochs=5",
    "train.epochs=[1": "not valid YAML: line 1, column 3: while parsing a flow sequence, expected ',' or ']'",
    "train.epochs=*five": "not valid YAML: line 1, column 1: got the alias *five",
    "train.augment=none": "got 'none', expected a mapping with the keys rotation, shift, scale, shear, elastic",
    "data.source=\udcff": "not valid YAML: 'utf-8' codec can't decode byte",
}


@pytest.mark.parametrize("text", WRONG_CHANGES)
def test_wrong_change_is_told_as_it_was_given(tmp_path: Path, text: str) -> None:
    (line,) = refused(tmp_path, text)
    assert line.startswith(f"-S {text}: {WRONG_CHANGES[text]}".encode("ascii", "backslashreplace").decode())


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train.epochs=5", "epochs", 5),
        ("train.learning_rate=1e-3", "learning_rate", 0.001),
        ("train.learning_rate=1", "learning_rate", 1.0),
        ("train.schedule='cosine'", "schedule", "cosine"),
        ("train.clean_epochs= 3  # the last", "clean_epochs", 3),
    ],
)
def test_change_is_read_by_the_rules_of_the_file(tmp_path: Path, text: str, key: str, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(COMMITTED, encoding="utf-8")
    changed = load_params(path, [Change.parse(text)])
    before = load_params(path).model_dump()
    assert changed.model_dump() == before | {"train": before["train"] | {key: value}}
    assert changed.read_again().model_dump() == changed.model_dump()
    assert path.read_text(encoding="utf-8") == COMMITTED


def test_last_change_of_a_key_counts_and_may_mend_the_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(with_key("train.epochs", "many"), encoding="utf-8")
    changes = [Change.parse("train.epochs=none"), Change("train.epochs", 7, "--epochs")]
    assert load_params(path, changes).train.epochs == 7


def test_problems_of_the_file_and_of_changes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(with_key("train.epochs", "0"), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path, [Change("model.dropout", 2, "--dropout"), Change.parse("train.augment={shift: 1}")])
    lines = str(caught.value).splitlines()
    assert lines[0] == "--dropout: got 2, expected a number from 0.0 to 0.9"
    assert lines[1] == f"{path}: train.epochs: got 0, expected a whole number from 1 to 10000"
    assert all(line.startswith("-S train.augment={shift: 1}: train.augment.") for line in lines[2:])
    assert len(lines) == 6


@pytest.mark.parametrize("text", ["- a list", "train: 5", "train:\n  augment: 5", "5"])
def test_change_of_what_is_no_section_is_no_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match="expected a mapping with the keys"):
        load_params(path, [Change.parse("train.augment.shift=1")])


def test_refusal_by_who_knows_the_values_alone_is_told_of_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(COMMITTED, encoding="utf-8")
    loaded = load_params(path, [Change.parse("model.name=nosuch")])
    error = ParamsError("params", ["model.name: got 'nosuch', expected another", "train.epochs: got 20, expected 3"])
    assert str(loaded.placed(error)).splitlines() == [
        "-S model.name=nosuch: got 'nosuch', expected another",
        f"{path}: train.epochs: got 20, expected 3",
    ]
    assert (loaded.place("model.name"), loaded.place("train.epochs")) == (
        "-S model.name=nosuch",
        f"train.epochs in {path}",
    )

"""params.yaml as a stranger might write it: every refusal in words, short, on one line each."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from helpers import NO_FILES, ROOT, committed
from ruamel.yaml import YAML

from mnist_dvc.errors import ParamsError
from mnist_dvc.params import LARGEST_FILE, MOST_PROBLEMS, Params, load_params, param_keys

if TYPE_CHECKING:
    from pathlib import Path

COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")
LONGEST_LINE = 500


def put(old: str, new: str) -> bytes:
    """The committed file with ``old``, which is there once, replaced by ``new``."""
    assert COMMITTED.count(old) == 1, old
    return COMMITTED.replace(old, new).encode()


def epochs(text: str) -> bytes:
    return put(committed("epochs"), f"epochs: {text} ")


def rate(text: str) -> bytes:
    return put(committed("learning_rate"), f"learning_rate: {text} ")


def source(text: str) -> bytes:
    return put("source: auto ", f"source: {text} ")


def section(text: str) -> bytes:
    """The committed file with ``text`` in place of the section evaluate."""
    return (COMMITTED[: COMMITTED.index("evaluate:")] + text + COMMITTED[COMMITTED.index("export:") :]).encode()


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
WHOLE = "train.epochs: got {}, expected a whole number from 1 to 10000"
NUMBER = "train.learning_rate: got {}, expected a number above 0.0 to 10.0"
EVALUATE = "evaluate: got {}, expected a mapping with the keys batch_size, threads, mistakes"
ROOT_IS = "got {}, expected a mapping with the keys data, model, train, evaluate, export"

BAD: dict[str, tuple[bytes, str]] = {
    # not a text, or not one that is read
    "empty": (b"", ROOT_IS.format("null")),
    "only comments": (b"# nothing\n# here\n", ROOT_IS.format("null")),
    "only blanks": (b" \n\n \n", ROOT_IS.format("null")),
    "only a document mark": (b"---\n", ROOT_IS.format("null")),
    "NUL": (COMMITTED.encode() + b"\0", "not valid YAML: unacceptable character #x0000"),
    "bell": (source("a\x07"), "not valid YAML: unacceptable character #x0007"),
    "escape sequence": (source("\x1b[31mred"), "not valid YAML: unacceptable character #x001b"),
    "UTF-16": (COMMITTED.encode("utf-16"), "not valid YAML: 'utf-8' codec can't decode byte 0xff in position 0"),
    "UTF-16 without a mark": (COMMITTED.encode("utf-16-le"), "not valid YAML: unacceptable character #x0000"),
    "UTF-32": (COMMITTED.encode("utf-32"), "not valid YAML"),
    "latin-1": (source("caf\xe9").decode().encode("latin-1"), "can't decode byte 0xe9"),
    "surrogate": (b"a: \xed\xa0\x80", "not valid YAML: 'utf-8' codec can't decode"),
    "overlong": (b"a: \xc0\xaf", "not valid YAML: 'utf-8' codec can't decode"),
    "too large": (COMMITTED.encode() + b"#" * LARGEST_FILE, "size: got more than 65,536 bytes"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "not valid YAML"),
    "HTML": (b"<!DOCTYPE html>\n<html><body class='a'>", "got \"<!DOCTYPE html> <html><body class='a'>\""),
    "JSON with a fault": (b'{"data": {"source": "auto",}', "not valid YAML"),
    # beyond plain values
    "billion laughs": (LAUGHS.encode(), "line 1, column 5: got the anchor &a0; write the value out"),
    "billion merges": (MERGES.encode(), "got the anchor &a0"),
    "recursive list": (b"&a [*a]", "got the anchor &a"),
    "recursive mapping": (b"a: &a\n  b: *a\n", "got the anchor &a"),
    "alias of nothing": (epochs("*gone"), "line 15, column 11: got the alias *gone; write the value out"),
    "merge of an alias": (section("evaluate:\n  <<: *a\n"), "got the alias *a"),
    "merge of a number": (section("evaluate:\n  <<: 5\n"), "expected a mapping or list of mappings for merging"),
    "deep lists": (b"[" * 60_000, "got more than 20 levels of nesting"),
    "deep mappings": (b"{a: " * 15_000, "got more than 20 levels of nesting"),
    "deep blocks": (b"- " * 30_000, "got more than 20 levels of nesting"),
    "deep keys": (b"? " * 30_000, "got more than 20 levels of nesting"),
    "deep in closed brackets": (b"a: " + b"[" * 500 + b"]" * 500, "got more than 20 levels of nesting"),
    "python object": (source("!!python/object/apply:os.system [true]"), "got the tag tag:yaml.org,2002:python/object"),
    "python name": (source("!!python/name:os.system"), "got the tag"),
    "binary": (source("!!binary aGk="), "got the tag tag:yaml.org,2002:binary; the kind of a value is told by its key"),
    "set": (section("evaluate: !!set {a, b}\n"), "got the tag"),
    "ordered mapping": (section("evaluate: !!omap [a: 1]\n"), "got the tag"),
    "tagged timestamp": (epochs("!!timestamp x"), "got the tag"),
    "tagged int of a word": (epochs("!!int many"), "got the tag"),
    "tagged bool of a word": (epochs("!!bool maybe"), "got the tag"),
    "tagged float of nothing": (rate("!!float ''"), "got the tag"),
    "tag of our own": (source("!path data"), "got the tag !path"),
    "tag of no kind": (epochs("! 20"), "got the tag !"),
    "rules of YAML 1.1": (b"%YAML 1.1\n---\n" + COMMITTED.encode(), "got a %YAML or %TAG line"),
    "rules of YAML 2": (b"%YAML 2.0\n---\n" + COMMITTED.encode(), "found incompatible YAML document"),
    "tag line": (b"%TAG ! tag:example.org,2000:\n---\n" + COMMITTED.encode(), "got a %YAML or %TAG line"),
    # YAML that does not hold together
    "two documents": (COMMITTED.encode() + b"---\n" + COMMITTED.encode(), "expected a single document in the stream"),
    "tab": (b"train:\n\tepochs: 1\n", "line 2, column 1: while scanning for the next token"),
    "unclosed quote": (source("'auto"), "found unexpected end of stream"),
    "unclosed double quote": (source('"auto'), "not valid YAML"),
    "unclosed bracket": (epochs("[20"), "not valid YAML"),
    "unknown escape": (source('"\\q"'), "found unknown escape character 'q'"),
    "too deep by one": (put("  dropout: 0.0 ", "   dropout: 0.0 "), "line 11, column 4: while parsing a block mapping"),
    "too shallow by one": (put("  dropout: 0.0 ", " dropout: 0.0 "), "not valid YAML"),
    "duplicate key": (epochs("20\n  epochs: 3"), "line 16, column 3: while constructing a mapping, found duplicate"),
    "duplicate section": (COMMITTED.encode() + b"data: {}\n", 'found duplicate key "data"'),
    "duplicate key with a huge value": (b"a: " + b"b" * 30_000 + b"\na: " + b"c" * 30_000, "found duplicate key"),
    "two values": (epochs("20: 30"), "mapping values are not allowed here"),
    # keys
    "other case": (put("  epochs:", "  Epochs:"), "train.Epochs: unknown key, did you mean train.epochs?"),
    "section in other case": (put("evaluate:", "Evaluate:"), "Evaluate: unknown key, did you mean evaluate?"),
    "key with a blank": (put("  epochs:", "  'epochs ':"), "train.epochs : unknown key, did you mean train.epochs?"),
    "key of another section": (put("  dropout:", "  epochs:"), "model.epochs: unknown key, did you mean train.epochs?"),
    "missing key": (put(committed("epochs"), "# "), "train.epochs: missing, expected a whole number from 1 to 10000"),
    "missing section": (section(""), "evaluate: missing, expected a mapping with the keys batch_size"),
    "number as key": (put("  epochs:", "  1:"), "train.1: got a key that is no text, expected a mapping with the keys"),
    "truth as key": (put("  epochs:", "  true:"), "train.1: got a key that is no text"),
    "null as key": (COMMITTED.encode() + b"null: 1\n", "None: got a key that is no text, expected a mapping"),
    "nan as key": (COMMITTED.encode() + b".nan: 1\n", "nan: got a key that is no text"),
    "date as key": (COMMITTED.encode() + b"2026-01-01: 1\n", "got a key that is no text"),
    "list as key": (COMMITTED.encode() + b"? [a, b]\n: 1\n", "got a key that is no text"),
    "list in a list as key": (COMMITTED.encode() + b"? - - a\n: 1\n", "not valid YAML: unhashable type: 'list'"),
    "mapping as key": (COMMITTED.encode() + b"? {a: b}\n: 1\n", "found unhashable key"),
    "huge number as key": (COMMITTED.encode() + b"0x" + b"f" * 900 + b": 1\n", "got a key that is no text"),
    "very long key": (COMMITTED.encode() + b"? " + b"k" * 60_000 + b"\n: 1\n", "kkk...: unknown key"),
    "key that paints": (COMMITTED.encode() + b'"\\e[31m": 1\n', "\\x1b[31m: unknown key"),
    "key of two lines": (COMMITTED.encode() + b'"a\\nb": 1\n', "a\\nb: unknown key"),
    "many unknown keys": ("".join(f"k{i}: 1\n" for i in range(5000)).encode(), "4985 more problems"),
    # sections
    "list at the root": (b"[1, 2]", ROOT_IS.format("[1, 2]")),
    "text at the root": (b"train", ROOT_IS.format("'train'")),
    "number at the root": (b"1.5", ROOT_IS.format("1.5")),
    "section is null": (section("evaluate:\n"), EVALUATE.format("null")),
    "section is a list": (section("evaluate: [1]\n"), EVALUATE.format("[1]")),
    "section is a list of mappings": (section("evaluate:\n  - threads: 2\n"), EVALUATE.format("[{'threads': 2}]")),
    "section is a text": (section("evaluate: auto\n"), EVALUATE.format("'auto'")),
    "section is true": (section("evaluate: true\n"), EVALUATE.format("true")),
    "section is empty": (section("evaluate: {}\n"), "evaluate.batch_size: missing, expected a whole number"),
    # values
    "yes": (epochs("yes"), WHOLE.format("'yes'")),
    "no": (epochs("no"), WHOLE.format("'no'")),
    "on": (epochs("on"), WHOLE.format("'on'")),
    "off": (epochs("off"), WHOLE.format("'off'")),
    "false": (epochs("false"), WHOLE.format("false")),
    "tilde": (epochs("~"), WHOLE.format("null")),
    "clock": (epochs("12:30"), WHOLE.format("'12:30'")),
    "date": (epochs("2026-01-01"), WHOLE.format("datetime.date(2026, 1, 1)")),
    "date that is none": (epochs("2026-13-45"), "not valid YAML: month must be in 1..12"),
    "number in quotes": (epochs("'20'"), WHOLE.format("'20'")),
    "number with a comma": (rate("0,02"), NUMBER.format("'0,02'")),
    "number with a unit": (epochs("20 epochs"), WHOLE.format("'20 epochs'")),
    "fraction": (epochs("20.5"), WHOLE.format("20.5")),
    "exponent": (epochs("2e1"), WHOLE.format("20.0")),
    "hexadecimal, too large": (epochs("0xffff"), WHOLE.format("65535")),
    "underscores, too large": (epochs("1_000_000"), WHOLE.format("1000000")),
    "only underscores": (epochs("-_"), "not valid YAML: invalid literal for int()"),
    "minus zero": (epochs("-0"), WHOLE.format("0")),
    "10^5000": (epochs("1" + "0" * 5000), "not valid YAML: Exceeds the limit (4300 digits)"),
    "16^5000": (epochs("0x1" + "0" * 5000), WHOLE.format("a number of 20001 bits")),
    "16^5000 for a fraction": (rate("0x1" + "0" * 5000), NUMBER.format("a number of 20001 bits")),
    "16^5000 in a list": (epochs("[0x1" + "0" * 5000 + "]"), WHOLE.format("[a number of 20001 bits]")),
    "1e400": (rate("1e400"), NUMBER.format("inf")),
    "minus infinity": (rate("-.inf"), NUMBER.format("-inf")),
    "nan": (rate(".NaN"), NUMBER.format("nan")),
    "inf as a word": (rate("inf"), NUMBER.format("'inf'")),
    "tiny negative": (rate("-1e-300"), NUMBER.format("-1e-300")),
    "list for a number": (rate("[0.02, 0.01]"), NUMBER.format("[0.02, 0.01]")),
    "mapping for a number": (rate("{min: 0.01}"), NUMBER.format("{'min': 0.01}")),
    "number for a text": (source("5"), "data.source: got 5, expected a text that is not empty"),
    "null for a text": (source("null"), "data.source: got null, expected a text that is not empty"),
    "text of controls": (source('"a\\0b"'), "data.source: got 'a\\x00b', expected a text that is not empty"),
    "text that turns": (source('"\\u202egnp"'), "data.source: got '\\u202egnp', expected a text"),
    "endless text": (source("x" * 50_000), "x', expected a text that is not empty, of at most 1024 printable"),
    "choice in other case": (put("schedule: onecycle ", "schedule: OneCycle "), "got 'OneCycle', expected one of"),
    "choice with a blank": (put("device: auto ", "device: 'auto ' "), "train.device: got 'auto ', expected one of"),
}  # fmt: skip


def refusal(content: bytes, folder: Path) -> ParamsError:
    path = folder / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    return caught.value


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_in_words(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    error = refusal(content, tmp_path)
    assert expected in str(error)
    assert error.exit_code == 2
    assert len(error.problems) <= MOST_PROBLEMS + 1
    for line in str(error).splitlines():
        assert line.startswith(f"{tmp_path}/params.yaml: ")
        assert line.isprintable()
        assert len(line) <= len(str(tmp_path)) + LONGEST_LINE


def test_the_table_is_as_long_as_promised() -> None:
    assert len(BAD) >= 60
    assert len({content for content, _ in BAD.values()}) == len(BAD)


GOOD: dict[str, bytes] = {
    "as committed": COMMITTED.encode(),
    "with a mark of UTF-8": b"\xef\xbb\xbf" + COMMITTED.encode(),
    "lines as on Windows": COMMITTED.replace("\n", "\r\n").encode(),
    "document mark": b"---\n" + COMMITTED.encode() + b"...\n",
    "whole number for a fraction": rate("1"),
    "hexadecimal": epochs("0x14"),
    "octal": epochs("0o24"),
    "leading zero": epochs("020"),
    "underscore": epochs("2_0"),
    "in quotes": source("'no'"),
    "a folder with blanks": source("../my digits/ä"),
    "as large as allowed": COMMITTED.encode().ljust(LARGEST_FILE, b"#"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_file_passes_the_same_checks_with_the_values_that_dvc_sees(tmp_path: Path, name: str) -> None:
    """The twin of the table above; DVC reads params.yaml with ruamel, by the rules of YAML 1.2."""
    path = tmp_path / "params.yaml"
    path.write_bytes(GOOD[name])
    ours: Any = load_params(path).model_dump()
    theirs: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    for key in param_keys():
        our, their = ours, theirs
        for part in key.split("."):
            our, their = our[part], their[part]
        assert our == their
        assert not isinstance(their, bool)
    assert Params.model_validate(theirs).model_dump() == load_params(path).model_dump()


def test_naive_reader_would_unfold_the_aliases() -> None:
    laughs = "\n".join(LAUGHS.splitlines()[:5])
    assert len(laughs) < 300
    assert len(repr(YAML(typ="safe", pure=True).load(laughs))) > 50_000


def test_naive_reader_would_exceed_the_stack() -> None:
    with pytest.raises(RecursionError):
        YAML(typ="safe", pure=True).load("- " * 2000)


def test_naive_message_would_fail_over_a_huge_number() -> None:
    with pytest.raises(ValueError, match="Exceeds the limit"):
        repr(int("1" + "0" * 5000, 16))


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "params.yaml"
    NO_FILES[kind](path)
    with pytest.raises(ParamsError, match="expected a params file"):
        load_params(path)


def test_naive_reader_would_wait_for_the_pipe(tmp_path: Path) -> None:
    """Without a writer, opening a pipe blocks; asked not to, the system gives the pipe, which is no file."""
    path = tmp_path / "params.yaml"
    os.mkfifo(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with contextlib.closing(os.fdopen(handle)):
        assert not stat.S_ISREG(os.fstat(handle).st_mode)

"""Snapshots on disk: the newest whole one is found, anything else is refused, and never is there none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers import FIXTURES, NO_FILES

from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.files import sha256
from mnist_dvc.model.tensorfile import METADATA_KEY
from mnist_dvc.training.events import EpochRow
from mnist_dvc.training.snapshot import (
    KEEP,
    Snapshot,
    SnapshotFolder,
    TrainingState,
    parse_snapshot,
    snapshot_bytes,
)

IDENTITY = {"params": {"train": {"seed": 1, "learning_rate": 0.02}}, "data": "d" * 8, "code": "c" * 8}
ROW = EpochRow(epoch=1, train_loss=1 / 3, val_loss=None, train_accuracy=0.9, val_accuracy=None, lr=1e-3)
WHERE = Path("step-000000007.snapshot")


def snapshot(step: int = 7, **changes: Any) -> Snapshot:
    tensors = {"model/weight": torch.arange(6.0).reshape(2, 3), "order": torch.arange(16, dtype=torch.uint8)}
    state = TrainingState(step=step, history=(ROW,), tensors=changes.pop("tensors", tensors))
    return Snapshot(state=state, **({"began": 1_700_000_000.25, "seconds": 12.5} | changes))


GOOD = snapshot_bytes(snapshot(), IDENTITY)


def resigned(payload: bytes) -> bytes:
    return f"mnist_dvc snapshot 1 {sha256(payload)}\n".encode() + payload


def payload(metadata: str, tensor: torch.Tensor | None = None) -> bytes:
    tensors = {"w": torch.zeros(1) if tensor is None else tensor}
    return safetensors.torch.save(tensors, metadata={METADATA_KEY: metadata})


def metadata() -> str:
    """What stands in a good snapshot beside its tensors."""
    body = GOOD.partition(b"\n")[2]
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    told: str = header["__metadata__"][METADATA_KEY]
    return told


def test_round_trip_gives_back_every_value() -> None:
    read = parse_snapshot(GOOD, WHERE, IDENTITY)
    assert (read.began, read.seconds, read.state.step, read.state.history) == (1_700_000_000.25, 12.5, 7, (ROW,))
    wanted = snapshot().state.tensors
    assert read.state.tensors.keys() == wanted.keys()
    assert all(torch.equal(read.state.tensors[name], tensor) for name, tensor in wanted.items())


BAD = {
    "empty": (b"", "first line: got b''"),
    "only zeros": (bytes(1000), "first line: got"),
    "half a digest": (GOOD[:50], "first line: got"),
    "no tensors": (GOOD[: GOOD.index(b"\n") + 1], "SHA-256: got"),
    "one byte more": (GOOD + b"x", "SHA-256: got"),
    "capital digits": (GOOD[:20] + GOOD[20:90].upper() + GOOD[90:], "first line: got"),
    "empty payload": (resigned(b""), "header: got damage"),
    "no safetensors": (resigned(b"x" * 100), "header: got damage (8,680,820,740,569,200,760 bytes long"),
    "no metadata": (resigned(safetensors.torch.save({"a": torch.zeros(1)})), "(__metadata__: Field required)"),
    "metadata no JSON": (resigned(payload("x")), "content: got damage (Invalid JSON"),
    "nested metadata": (resigned(payload("[" * 50_000)), "content: got damage (Invalid JSON"),
    "incomplete metadata": (resigned(payload('{"step": 1}')), "content: got damage (identity: Field required)"),
    "negative step": (snapshot_bytes(snapshot(-1), IDENTITY), "content: got damage (step: Input should be"),
    "date beyond the calendar": (
        snapshot_bytes(snapshot(began=1e300), IDENTITY), "content: got damage (began: Input should be"
    ),
    "NaN in a weight": (
        resigned(payload(metadata(), torch.tensor([0.0, torch.nan]))), "tensor w: got NaN or infinity"
    ),
    "infinity in a moment": (
        resigned(payload(metadata(), torch.tensor([torch.inf]))), "tensor w: got NaN or infinity"
    ),
    "other learning rate": (
        snapshot_bytes(snapshot(), IDENTITY | {"params": {"train": {"seed": 1, "learning_rate": 0.03}}}),
        "training it belongs to: got params.train.learning_rate 0.03, not 0.02",
    ),
    "other data and code": (
        snapshot_bytes(snapshot(), IDENTITY | {"data": "e", "code": "f"}),
        "got data 'e', not 'dddddddd'; code 'f', not 'cccccccc'",
    ),
    "older schema": (re.sub(rb"snapshot 1", b"snapshot 0", GOOD, count=1), "schema: got 0, expected 1"),
    "later schema": (re.sub(rb"snapshot 1", b"snapshot 2", GOOD, count=1), "schema: got 2, expected 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_unfit_bytes_are_refused(name: str) -> None:
    content, expected = BAD[name]
    with pytest.raises(ArtifactError) as caught:
        parse_snapshot(content, WHERE, IDENTITY)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: ")
    assert expected in message
    assert message.isprintable()


def test_any_flipped_bit_or_cut_is_refused() -> None:
    for bit in range(0, 8 * len(GOOD), 5):
        flipped = bytearray(GOOD)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactError):
            parse_snapshot(bytes(flipped), WHERE, IDENTITY)
    for length in range(0, len(GOOD), 3):
        with pytest.raises(ArtifactError):
            parse_snapshot(GOOD[:length], WHERE, IDENTITY)


def test_without_the_digest_flipped_bits_would_pass() -> None:
    """Safetensors, like PyTorch, does not look: a changed weight loads as if nothing had happened."""
    body = bytearray(GOOD.partition(b"\n")[2])
    body[-1] ^= 1
    loaded, whole = safetensors.torch.load(bytes(body)), snapshot().state.tensors
    assert sum(not torch.equal(loaded[name], tensor) for name, tensor in whole.items()) == 1
    parse_snapshot(resigned(bytes(body)), WHERE, IDENTITY)


def test_made_with_the_tools_of_the_table_a_good_one_is_read() -> None:
    """The twin: it is the number that is refused, not the way it got there."""
    assert parse_snapshot(resigned(payload(metadata(), torch.ones(2))), WHERE, IDENTITY).state.step == 7


NOT_FINITE = {"NaN": torch.nan, "infinity": torch.inf, "minus infinity": -torch.inf}


@pytest.mark.parametrize("name", NOT_FINITE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensor_that_its_reader_would_refuse_is_not_written(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    folder, tensor = SnapshotFolder(tmp_path, IDENTITY), torch.zeros(2, 3, dtype=dtype)
    before = folder.save(snapshot())
    tensor[1, 2] = NOT_FINITE[name]
    with pytest.raises(DivergedError, match="tensor 'average/b': got NaN or infinity, expected finite numbers; try a"):
        folder.save(snapshot(8, tensors={"model/a": torch.zeros(1), "average/b": tensor}))
    assert [path.name for path in folder.path.iterdir()] == [before.name]
    assert folder.read(before).state.step == 7


def test_largest_numbers_and_integers_are_written(tmp_path: Path) -> None:
    """The twin of the refusal."""
    folder, largest = SnapshotFolder(tmp_path, IDENTITY), torch.finfo(torch.float32).max
    tensors = {"a": torch.tensor([largest, -largest, 5e-324]), "b": torch.tensor([2**63 - 1]), "c": torch.tensor([])}
    assert folder.read(folder.save(snapshot(tensors=tensors))).state.tensors.keys() == tensors.keys()


def test_newest_comes_first_and_only_two_stay(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path, IDENTITY)
    saved = [folder.save(snapshot(step)) for step in (5, 50, 100_000)]
    assert folder.paths() == saved[:0:-1]
    assert len(folder.paths()) == KEEP
    assert folder.read(folder.paths()[0]).state.step == 100_000


def test_later_snapshots_that_did_not_verify_push_no_good_one_out(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path, IDENTITY)
    for step in (10, 20):
        folder.save(snapshot(step))
    folder.paths()[0].write_bytes(b"damage")
    folder.save(snapshot(11))
    assert [folder.read(path).state.step for path in folder.paths()] == [11, 10]


def full(path: Path) -> None:
    """A folder that is not empty, nor is the one in it."""
    (path / "inside").mkdir(parents=True)
    (path / "inside/file").touch()


STRANGERS = NO_FILES | {"full folder": full, "link to a folder": lambda path: path.symlink_to("/")}


@pytest.mark.parametrize("step", [5, 8, 9], ids=["older", "same", "newer"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_file_is_out_of_the_way_of_a_save(tmp_path: Path, kind: str, step: int) -> None:
    folder = SnapshotFolder(tmp_path, IDENTITY)
    folder.save(snapshot(4))
    STRANGERS[kind](folder.path / f"step-{step:09d}.snapshot")
    folder.save(snapshot(8))
    assert sorted(path.name for path in folder.path.iterdir()) == [f"step-{n:09d}.snapshot" for n in (4, 8)]
    assert [folder.read(path).state.step for path in folder.paths()] == [8, 4]


def test_what_is_no_file_and_has_another_name_stays(tmp_path: Path) -> None:
    """The twin: a save removes nothing but what would be taken for a snapshot."""
    folder = SnapshotFolder(tmp_path, IDENTITY)
    full(folder.path / "step-000000005.snapshot.old")
    folder.save(snapshot(8))
    assert (folder.path / "step-000000005.snapshot.old/inside/file").is_file()


def test_without_the_removal_a_folder_would_end_the_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SnapshotFolder(tmp_path, IDENTITY)
    full(folder.path / "step-000000008.snapshot")
    monkeypatch.setattr(SnapshotFolder, "_remove_strangers", lambda _: None)
    with pytest.raises(IsADirectoryError):
        folder.save(snapshot(8))


def test_other_training_has_a_folder_of_its_own(tmp_path: Path) -> None:
    ours, theirs = SnapshotFolder(tmp_path, IDENTITY), SnapshotFolder(tmp_path, IDENTITY | {"code": "new"})
    theirs.save(snapshot())
    assert ours.paths() == []
    assert ours.others() == [theirs.path]
    ours.save(snapshot())
    ours.clear()
    assert theirs.paths() != []
    assert not ours.path.exists()


def test_snapshot_moved_from_another_training_is_refused_with_the_differences(tmp_path: Path) -> None:
    ours, theirs = SnapshotFolder(tmp_path, IDENTITY), SnapshotFolder(tmp_path, IDENTITY | {"code": "new"})
    moved = ours.path / theirs.save(snapshot()).name
    ours.path.mkdir()
    theirs.paths()[0].rename(moved)
    with pytest.raises(ArtifactError, match="got code 'new', not 'cccccccc', expected this one"):
        ours.read(moved)


def test_thousand_snapshots_leave_no_open_file_behind(tmp_path: Path) -> None:
    """Fault 22; counted by what the system lists, which a leak would make grow."""
    folder = SnapshotFolder(tmp_path, IDENTITY)
    folder.save(snapshot(0))
    before = len(list(Path("/dev/fd").iterdir()))
    for step in range(1, 1001):
        folder.read(folder.save(snapshot(step)))
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_snapshot_of_the_first_schema_is_read() -> None:
    """Written when the schema was made; a later version may refuse it, but in words."""
    read = parse_snapshot((FIXTURES / "snapshot-schema-1.snapshot").read_bytes(), WHERE, IDENTITY)
    assert read.state.step == 7
    assert read.state.history == (ROW,)

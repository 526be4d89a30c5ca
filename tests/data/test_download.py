"""The download against mirrors on this machine that misbehave; no wait is longer than a fraction of a second."""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn

import pytest
import torchvision.datasets
from helpers import ROOT, idx_folder, no_pictures
from mirrors import Handler, Mirror, well

from mnist_dvc.data import downloads, sources
from mnist_dvc.data.sources import read_digits, read_folder
from mnist_dvc.errors import DataError, DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mnist_dvc.data.splits import RawDigits

FIRST = "train-images-idx3-ubyte.gz"


def silent(handler: Handler, content: bytes) -> None:
    del content
    handler.server.released.wait()


def silent_after_the_head(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content))
    handler.server.released.wait()


def silent_half_way(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content))
    handler.wfile.write(content[: len(content) // 2])
    handler.server.reached.set()
    handler.server.released.wait()


def half(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content))
    handler.wfile.write(content[: len(content) // 2])


def longer_than_said(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content) - 7)
    handler.wfile.write(content)


def shorter_than_said(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content) + 7)
    handler.wfile.write(content)


def negative_length(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=-1)
    handler.wfile.write(content[:-1])


def endless(handler: Handler, content: bytes) -> None:
    del content
    handler.head()
    while True:
        handler.wfile.write(bytes(1000))


def endless_chunks(handler: Handler, content: bytes) -> None:
    del content
    handler.head(Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"3e8\r\n" + bytes(1000) + b"\r\n")


def bad_chunks(handler: Handler, content: bytes) -> None:
    handler.head(Transfer_Encoding="chunked")
    handler.wfile.write(b"zz\r\n" + content)


def endless_head(handler: Handler, content: bytes) -> None:
    del content
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Filler: 0\r\n")


def endless_line(handler: Handler, content: bytes) -> None:
    del content
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Filler: ")
    while True:
        handler.wfile.write(b"x" * 1000)


def dripping_head(handler: Handler, content: bytes) -> None:
    del content
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Filler: ")
    while not handler.server.released.wait(0.05):
        handler.wfile.write(b"x")


def no_http(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n" + content)


def nothing(handler: Handler, content: bytes) -> None:
    del handler, content


def page(handler: Handler, content: bytes) -> None:
    del content
    well(handler, b"<html>Please log in</html>")


def status(code: int, reason: str = "") -> Callable[[Handler, bytes], None]:
    def answer(handler: Handler, content: bytes) -> None:
        handler.send_response(code, reason or None)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirected_for_ever(handler: Handler, content: bytes) -> None:
    del content
    handler.head(302, Location=handler.path)


def redirected_by_an_endless_page(handler: Handler, content: bytes) -> None:
    del content
    handler.head(302, Location=handler.path)
    while True:
        handler.wfile.write(bytes(1000))


def redirected_to(location: str) -> Callable[[Handler, bytes], None]:
    def answer(handler: Handler, content: bytes) -> None:
        del content
        handler.head(302, Location=location)

    return answer


def other_bytes(handler: Handler, content: bytes) -> None:
    well(handler, content[:-1] + b"!")


BAD: dict[str, tuple[Callable[[Handler, bytes], None], str]] = {
    "silent": (silent, "no byte for 0.2 s"),
    "silent after the head": (silent_after_the_head, "no byte for 0.2 s"),
    "silent half way": (silent_half_way, "no byte for 0.2 s"),
    "breaks half way": (half, "bytes with MD5"),
    "length too small": (longer_than_said, "bytes with MD5"),
    "negative length": (negative_length, "bytes with MD5"),
    "endless": (endless, "more than 40000 bytes"),
    "endless chunks": (endless_chunks, "more than 40000 bytes"),
    "chunks of no length": (bad_chunks, ""),
    "endless head": (endless_head, "got more than 100 headers"),
    "head that drips": (dripping_head, "no byte for 0.2 s"),
    "endless line": (endless_line, "got more than 65536 bytes when reading header line"),
    "no HTTP": (no_http, "SSH-2.0-OpenSSH"),
    "nothing": (nothing, "Remote end closed connection"),
    "page instead of the file": (page, "26 bytes with MD5"),
    "empty file": (lambda handler, _: well(handler, b""), "0 bytes with MD5"),
    "404": (status(404), "HTTP Error 404: Not Found"),
    "500": (status(500), "HTTP Error 500: Internal Server Error"),
    "503 that paints": (status(503, "\x1b[31mred"), "HTTP Error 503: \\x1b[31mred"),
    "redirection for ever": (redirected_for_ever, "infinite loop"),
    "redirection by an endless page": (redirected_by_an_endless_page, "infinite loop"),
    "redirection to a file": (redirected_to("file:///etc/passwd"), "Redirection to url 'file:///etc/passwd' is not"),
    "redirection to no address": (redirected_to("http://[bad/"), "Invalid IPv6 URL"),
    "other bytes": (other_bytes, "bytes with MD5"),
}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Mirror]]]:
    """Start a mirror for each answer, in order; the module believes MNIST to be small and to stand there."""
    started: list[Mirror] = []
    wanted = idx_folder(tmp_path / "mirror", packed=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "mirror").iterdir()}

    def mirrors(*answers: Callable[[Handler, bytes], None]) -> list[Mirror]:
        for answer in answers:
            started.append(Mirror(files))
            started[-1].answer = answer
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror.url for mirror in started])
        return started

    resources = [
        (f"{file.name}.gz", hashlib.md5(files[f"{file.name}.gz"], usedforsecurity=False).hexdigest()) for file in wanted
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(sources, "read_folder", functools.partial(read_folder, files=wanted))
    monkeypatch.setattr(downloads, "STALLED_AFTER_S", 0.2)
    monkeypatch.setattr(downloads, "LARGEST_DOWNLOAD", 40_000)
    monkeypatch.setattr(downloads, "CHUNK", 1000)
    yield mirrors
    for mirror in started:
        mirror.close()


def ask(source: str, root: Path) -> tuple[RawDigits, list[str]]:
    said: list[str] = []
    root.mkdir(exist_ok=True)
    return read_digits(source, root, environment={}, say=said.append, pictures=no_pictures), said


@pytest.mark.parametrize("name", BAD)
def test_bad_mirror_is_given_up_with_its_reason(tmp_path: Path, start: Callable[..., list[Mirror]], name: str) -> None:
    answer, reason = BAD[name]
    (mirror,) = start(answer)
    root = tmp_path / "repository"
    with pytest.raises(DownloadError) as caught:
        ask("mnist", root)
    assert str(caught.value).startswith(f"MNIST download failed: {FIRST}: {mirror.url}: ")
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert caught.value.exit_code == 69
    assert list((root / "data/raw").iterdir()) == []


@pytest.mark.parametrize("name", ["silent", "endless", "404", "other bytes", "redirection for ever"])
def test_second_mirror_is_asked_for_what_the_first_does_not_give(
    tmp_path: Path, start: Callable[..., list[Mirror]], name: str
) -> None:
    _, second = start(BAD[name][0], well)
    raw, _ = ask("mnist", tmp_path / "repository")
    assert (raw.dataset, len(raw.pool)) == ("mnist", 30)
    assert len(second.requests) == 4


def test_every_mirror_gives_its_reason_in_one_line(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    first, second = start(status(404), page)
    with pytest.raises(DownloadError) as caught:
        ask("mnist", tmp_path / "repository")
    assert f"{first.url}: HTTP Error 404: Not Found; {second.url}: 26 bytes with MD5" in str(caught.value)


def test_drip_that_never_ends_is_given_up(
    tmp_path: Path, start: Callable[..., list[Mirror]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that jumps, instead of waiting: there is always a next byte in time, and never the last."""
    start(endless)
    monkeypatch.setattr(downloads, "LARGEST_DOWNLOAD", 10**9)
    monkeypatch.setattr("mnist_dvc.data.downloads.time.monotonic", itertools.count(step=100).__next__)
    with pytest.raises(DownloadError, match="not done after 600 s"):
        ask("mnist", tmp_path / "repository")


def looked_up_for_ever(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is found, and none is said not to exist, before the test is over."""

    def look_up(*_: object, **__: object) -> NoReturn:
        mirror.released.wait()
        raise OSError("over")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_name_that_is_looked_up_for_ever_is_given_up(
    tmp_path: Path, start: Callable[..., list[Mirror]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror,) = start(well)
    looked_up_for_ever(mirror, monkeypatch)
    with pytest.raises(DownloadError, match="no byte for 0.2 s"):
        ask("mnist", tmp_path / "repository")
    assert mirror.requests == []


@pytest.mark.parametrize("fault", ["name", "head"])
def test_timeout_of_urllib_ends_neither_a_look_up_nor_a_head_that_drips(
    start: Callable[..., list[Mirror]], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The twin: with a timeout of 0.2 s and nothing else, neither would ever be given up."""
    (mirror,) = start(dripping_head)
    if fault == "name":
        looked_up_for_ever(mirror, monkeypatch)
    monkeypatch.setattr(downloads, "STALLED_AFTER_S", 0.1)
    pump = threading.Thread(target=downloads._pump, args=(mirror.url, SimpleQueue(), 1000), daemon=True)
    pump.start()
    pump.join(1.0)
    assert pump.is_alive()


def test_auto_falls_back_loudly(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    start(silent)
    raw, said = ask("auto", tmp_path / "repository")
    assert raw.dataset == "mnist-5k"
    assert "no byte for 0.2 s" in said[-2]
    assert said[-1].startswith("USING THE 5,000 BUNDLED DIGITS")


@pytest.mark.parametrize("answer", [well, shorter_than_said, status(200)], ids=["well", "too long", "none"])
def test_whole_file_is_taken_whatever_was_said_of_its_length(
    tmp_path: Path, start: Callable[..., list[Mirror]], answer: Callable[[Handler, bytes], None]
) -> None:
    start(answer)
    assert len(ask("mnist", tmp_path / "repository")[0].pool) == 30


def test_redirection_is_followed(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    def elsewhere(handler: Handler, content: bytes) -> None:
        well(handler, content) if "moved" in handler.path else handler.head(301, Location=f"/moved{handler.path}")

    (mirror,) = start(elsewhere)
    mirror.files |= {f"moved/{name}": content for name, content in mirror.files.items()}
    assert len(ask("mnist", tmp_path / "repository")[0].pool) == 30


def test_files_that_are_here_need_no_network(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    (mirror,) = start(well)
    root = tmp_path / "repository"
    ask("mnist", root)
    asked = len(mirror.requests)
    assert asked == 4
    ask("mnist", root)
    assert len(mirror.requests) == asked


def test_kept_files_are_the_ones_that_were_sent(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    (mirror,) = start(well)
    ask("mnist", tmp_path / "repository")
    folder = tmp_path / "repository/data/raw/MNIST/raw"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == mirror.files


def test_what_a_killed_run_left_is_no_data_and_is_removed(tmp_path: Path, start: Callable[..., list[Mirror]]) -> None:
    start(well)
    root = tmp_path / "repository"
    left = root / "data/raw/.download-killed/MNIST/raw"
    left.mkdir(parents=True)
    (left / FIRST).write_bytes(gzip.compress(b"half"))
    raw, said = ask("mnist", root)
    assert len(raw.pool) == 30
    assert said[0] == "no MNIST files here: downloading them"
    assert [path.name for path in (root / "data/raw").iterdir()] == ["MNIST"]


def test_other_run_that_was_faster_is_no_error(
    tmp_path: Path, start: Callable[..., list[Mirror]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(well)
    root = tmp_path / "repository"
    fetch = downloads._fetch

    def slow(dataset: str, resource: downloads.Resource, path: Path) -> None:
        if resource.name == FIRST:
            idx_folder(root / "data/raw/MNIST/raw", packed=True)
        fetch(dataset, resource, path)

    monkeypatch.setattr(downloads, "_fetch", slow)
    assert len(ask("mnist", root)[0].pool) == 30
    assert [path.name for path in (root / "data/raw").iterdir()] == ["MNIST"]


@pytest.mark.parametrize("blocked", ["data", "data/raw", "data/raw/MNIST"])
def test_target_that_cannot_be_written_is_the_systems_error(
    tmp_path: Path, start: Callable[..., list[Mirror]], blocked: str
) -> None:
    start(well)
    root = tmp_path / "repository"
    (root / blocked).parent.mkdir(parents=True)
    (root / blocked).write_bytes(b"")
    with pytest.raises(OSError, match="data"):
        ask("auto", root)
    assert (root / blocked).read_bytes() == b""


def test_content_that_matches_its_md5_only_is_refused(
    tmp_path: Path, start: Callable[..., list[Mirror]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(page)
    digest = hashlib.md5(b"<html>Please log in</html>", usedforsecurity=False).hexdigest()
    monkeypatch.setattr(
        torchvision.datasets.MNIST, "resources", [(name, digest) for name, _ in torchvision.datasets.MNIST.resources]
    )
    with pytest.raises(DataError, match="magic number: got 0x3c68746d"):
        ask("mnist", tmp_path / "repository")
    assert list((tmp_path / "repository/data/raw").iterdir()) == []


KILLED = """
import sys
import torchvision.datasets
from pathlib import Path
from mnist_dvc.data.sources import read_digits
torchvision.datasets.MNIST.mirrors = [sys.argv[1]]
read_digits("mnist", Path(sys.argv[2]), environment={}, say=print, pictures=iter)
"""


def test_kill_in_the_middle_leaves_nothing_that_looks_like_data(
    tmp_path: Path, start: Callable[..., list[Mirror]]
) -> None:
    (mirror,) = start(silent_half_way)
    root = tmp_path / "repository"
    root.mkdir()
    child = subprocess.Popen([sys.executable, "-c", KILLED, mirror.url, str(root)], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert mirror.reached.wait(60)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not list(root.rglob("train-*"))
    mirror.answer = well
    assert len(ask("mnist", root)[0].pool) == 30
    assert os.listdir(root / "data/raw") == ["MNIST"]  # noqa: PTH208  (names only)


def test_progress_is_shown_on_a_terminal_only(
    tmp_path: Path,
    start: Callable[..., list[Mirror]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (mirror,) = start(well)
    ask("mnist", tmp_path / "a")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ask("mnist", tmp_path / "b")
    assert f"\r{mirror.url}{FIRST}: 0.0 MB" in capsys.readouterr().err

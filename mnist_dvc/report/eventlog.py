"""What TensorBoard shows of one training: the event files of a folder, which an interrupted training goes on in."""

from __future__ import annotations

import contextlib
import copy
import os
import struct
import threading
import warnings
from typing import TYPE_CHECKING, Any, Self

import torch
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import hparams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["EventLog"]

SESSION_START = "_hparams_/session_start_info"
BINS = 64
"""Of a histogram; TensorBoard shows 30, and its writer's own thousand take three times as long."""


class EventLog:
    """The events of one run; a context manager that closes their file.

    What TensorBoard shows is worth less than what it is shown of: if the system refuses to write, that is said once and
    nothing more is written.
    """

    def __init__(
        self, folder: Path, *, keep: Callable[[str, int], bool] = lambda _tag, _step: True, say: Callable[[str], None]
    ) -> None:
        """Go on in ``folder``, or begin in it.

        Args:
            folder: of this run alone; an event file carries the time and the host, so it is no tracked output.
            keep: whether a value that is there already stays, by its tag and step; one that will be written again
                must not.
            say: receives the words about a failure.
        """
        self._say = say
        self._writer: SummaryWriter | None = None
        self._tags: set[str] = set()
        self._hook = threading.excepthook
        threading.excepthook = self._in_a_thread
        with self._giving_up():
            self._go_on(folder, keep)

    def _in_a_thread(self, told: threading.ExceptHookArgs) -> None:
        """PyTorch's writer has a thread that ends with what the system says, and raises it again where it is fed."""
        if not isinstance(told.exc_value, OSError):
            self._hook(told)

    def _go_on(self, folder: Path, keep: Callable[[str, int], bool]) -> None:
        """Open a new file; if something in the earlier ones must go, it takes over from them.

        It then tells readers to forget what came before and repeats what is kept, so whoever looks meanwhile sees
        nothing twice. Should the process die on the way, the next one finds every event in one file or the other. The
        earlier files are emptied, not removed: a reader that is in one would never come out.
        """
        earlier = sorted(folder.glob("events.out.tfevents.*"))
        kept, dropped = _kept(earlier, keep)
        self._tags = {value.tag for event in kept for value in event.summary.value}
        self._writer = SummaryWriter(str(folder))
        if not dropped:
            return
        events = _files_of(self._writer).event_writer
        events.add_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        for event in kept:
            events.add_event(event)
        self._writer.flush()
        for path in earlier:
            os.truncate(path, 0)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            self._say(f"no TensorBoard curves from here on: {error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            with self._giving_up():
                self._writer.close()
        threading.excepthook = self._hook

    @contextlib.contextmanager
    def writing(self) -> Iterator[SummaryWriter | None]:
        """PyTorch's writer for the body, whose events are on their way to the disk after it; None after a refusal."""
        with self._giving_up():
            yield self._writer
            if self._writer is not None:
                self._writer.flush()

    @property
    def opened(self) -> bool:
        """Whether a process before this one has begun the session."""
        return SESSION_START in self._tags

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """A point of each curve by its tag; None is no point."""
        with self.writing() as writer:
            for tag, value in values.items():
                if writer is not None and value is not None:
                    writer.add_scalar(tag, value, step)

    def picture(self, tag: str, png: bytes, step: int) -> None:
        """A picture whose PNG bytes are there already."""
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        with self.writing() as writer:
            if writer is not None:
                _files_of(writer).add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def graph(self, model: nn.Module, image_N1HW: Tensor) -> None:
        """The operations of ``model`` in evaluation mode; the module itself is left alone."""
        with self.writing() as writer, warnings.catch_warnings(action="ignore"):  # tracing is deprecated, and the way
            if writer is not None:
                # The writer's own trace is compared with another one, and to compare PyTorch imports its compiler.
                alone = copy.deepcopy(model).cpu().eval()
                traced = torch.jit.trace(alone, image_N1HW, check_trace=False)  # type: ignore[no-untyped-call]
                writer.add_graph(traced, image_N1HW)

    def histograms(self, group: str, tensors: Iterable[tuple[str, Tensor | None]], step: int) -> None:
        """The values of each tensor as ``group/name``; None, and what is not finite, has none."""
        with self.writing() as writer:
            for name, tensor in tensors:
                values = None if tensor is None else tensor.detach().float().cpu()
                if writer is not None and values is not None and bool(torch.isfinite(values).all()):
                    writer.add_histogram(f"{group}/{name}", values, step, bins=BINS)

    def begin_session(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Params for the HPARAMS tab, in this very run, and the tags whose last points stand beside them."""
        plain = {name: v if isinstance(v, int | float) else str(v) for name, v in values.items()}
        experiment, start, _ = _session(plain, dict.fromkeys(metrics, 0.0))
        self._summaries(experiment, start)

    def end_session(self) -> None:
        """The run is complete."""
        *_, end = _session({}, {})
        self._summaries(end)

    def _summaries(self, *summaries: Summary) -> None:
        with self.writing() as writer:
            for summary in summaries:
                if writer is not None:
                    _files_of(writer).add_summary(summary)

    def projector(self, tag: str, features_ND: Tensor, labels: Sequence[str], images_N1HW: Tensor, step: int) -> None:
        """Points for the PROJECTOR tab, each with its label and its picture, in [0, 1]."""
        with self.writing() as writer:
            if writer is not None:
                writer.add_embedding(features_ND, labels, images_N1HW, global_step=step, tag=tag)


def _files_of(writer: SummaryWriter) -> FileWriter:
    """What takes whole events and summaries; it is there until the writer is closed."""
    files: FileWriter | None = writer.file_writer
    if files is None:
        raise RuntimeError("a closed writer")
    return files


def _session(values: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[Summary, Summary, Summary]:
    """The summaries of an experiment, of the start and of the end of its session."""
    summaries: tuple[Summary, Summary, Summary] = hparams(values, metrics)  # type: ignore[no-untyped-call]
    return summaries


def _kept(files: Sequence[Path], keep: Callable[[str, int], bool]) -> tuple[list[Event], bool]:
    """What stays of the events of ``files``, each once, in the order of writing, and whether anything does not.

    Nothing stays of a run whose session was never begun.
    """
    events: dict[tuple[str, int], Event] = {}
    found = 0
    for event in _events(files):
        found += 1
        tag = "graph" if event.HasField("graph_def") else event.summary.value[0].tag
        if tag == "graph" or keep(tag, event.step):
            events[tag, event.step] = event
    if (SESSION_START, 0) not in events:
        events = {}
    return list(events.values()), len(events) < found


def _events(files: Sequence[Path]) -> Iterator[Event]:
    """The graphs and the values in ``files``; each event of PyTorch's writer has one value."""
    for path in files:
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            if event.HasField("graph_def") or event.summary.value:
                yield event

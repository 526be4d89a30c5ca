"""A training that outlives its process: snapshots on the way, a stop in good order, and going on from a snapshot."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from mnist_dvc.errors import ArtifactError, StoppedError, one_line
from mnist_dvc.files import check_writable
from mnist_dvc.training.consistency import refuse_impossible, refuse_runaway
from mnist_dvc.training.events import EpochEnded, Stepped
from mnist_dvc.training.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnist_dvc.running.interruption import Interruption
    from mnist_dvc.training.engine import Job, Training
    from mnist_dvc.training.events import Event
    from mnist_dvc.training.snapshot import SnapshotFolder

__all__ = ["ResumableTraining"]


class ResumableTraining:
    """A training with its snapshots: :meth:`restore`, iterate over :meth:`events`, publish, :meth:`finish`."""

    def __init__(
        self,
        training: Training,
        job: Job,
        snapshots: SnapshotFolder,
        interruption: Interruption,
        *,
        snapshot_every: float,
    ) -> None:
        """``training`` is one of ``job``, not begun.

        ``snapshot_every`` is in seconds, within an epoch; the end of an epoch is always kept.

        Raises:
            OSError: the folder of the snapshots cannot be written to.
        """
        self._training = training
        self._job = job
        self._snapshots = snapshots
        self._interruption = interruption
        self._every = snapshot_every
        self._began = time.time()
        self._seconds_before = 0.0
        self._clock = self._saved_at = time.perf_counter()
        check_writable(snapshots.path / "probe")

    @property
    def began(self) -> datetime:
        """When the first process of this training started, in local time."""
        return datetime.fromtimestamp(self._began).astimezone()

    @property
    def seconds(self) -> float:
        """What all processes of this training took together, up to their last snapshots."""
        return self._seconds_before + time.perf_counter() - self._clock

    def restore(self) -> None:
        """Go on from the newest snapshot that can be read and is whole, if there is one, and say so.

        Raises:
            ArtifactError: there are several and none is whole, so that hours may be lost by starting anew.
            OSError: there are several and the system refused to read every one of them.
        """
        skipped: list[ArtifactError | OSError] = []
        for path in self._snapshots.paths():
            try:
                snapshot = self._snapshots.read(path)
                refuse_impossible(snapshot.state, self._job, self._training.capture().tensors, path)
                self._training.restore(snapshot.state)
            except (ArtifactError, OSError) as error:
                words = error.problem if isinstance(error, ArtifactError) else one_line(error.strerror or error)
                print(f"train: skipped a snapshot: {one_line(path, 1024)}: {words}", file=sys.stderr)
                skipped.append(error)
            else:
                self._began, self._seconds_before = snapshot.began, snapshot.seconds
                print(f"Resuming from {path}")
                return
        if len(skipped) > 1:
            raise self._none_taken(skipped)
        others = self._snapshots.others()
        if others:
            names = ", ".join(map(str, others))
            print(f"Starting anew: the training in {names} is unfinished and has other params, data, code or machine")

    def _none_taken(self, skipped: list[ArtifactError | OSError]) -> ArtifactError | OSError:
        """What to end with: the system's own error if it was all that was met, else that none is whole."""
        if all(isinstance(error, OSError) for error in skipped):
            return skipped[0]
        return ArtifactError(
            self._snapshots.path,
            "snapshots",
            got=f"{len(skipped)}, none of them whole",
            expected="a whole one; remove the folder to start anew",
        )

    def events(self) -> Iterator[Event]:
        """The events of the training; a signal ends them after the step that it fell into.

        Raises:
            StoppedError: a signal came; everything up to the last step is in a snapshot.
            DivergedError: as the engine; the last snapshot is from before.
            OSError: a snapshot cannot be written; the older ones are whole.
        """
        for event in self._training.events():
            yield event
            match event:
                case EpochEnded():
                    self._save()
                case Stepped() if self._interruption.received or time.perf_counter() - self._saved_at >= self._every:
                    self._save()
            self.refuse_after_signal()

    def finish(self) -> None:
        """Everything is published: forget the snapshots, unless a signal came, after which DVC records no outputs.

        Raises:
            StoppedError: a signal came since the last step.
        """
        self.refuse_after_signal()
        self._snapshots.clear()

    def refuse_after_signal(self) -> None:
        """End here if a signal was received.

        Raises:
            StoppedError: it was.
        """
        number = self._interruption.received
        if number is not None:
            raise StoppedError(
                f"stopped by {self._interruption.name} after step {self._training.step:,}; "
                "the same command goes on from there",
                number,
            )

    def _save(self) -> None:
        state = self._training.capture()
        refuse_runaway(state)
        self._snapshots.save(Snapshot(state=state, began=self._began, seconds=self.seconds))
        self._saved_at = time.perf_counter()

"""Training state, and checkpoints for resuming."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.training.epoch_choice import best_evaluation, is_exhausted, window_means

# A resumed run repeats the epochs after its checkpoint with the same numbers, so saving less often
# than every epoch only costs time after an interruption.
SECONDS_BETWEEN_CHECKPOINTS = 5.0
# Minimum pause in multiples of the duration of a save: large models spend 5 % of the time on it.
SAVES_BETWEEN_CHECKPOINTS = 20.0
SCORE = "validation/mAP/avg"


@dataclasses.dataclass
class Progress:
    """The state of a training.

    Attributes:
      history: the logs of each epoch.
      best_score, best_epoch: of the best epoch so far; the score is −1 without validation.
      seconds: duration of training, without validation.
      planned: maximum number of epochs.
    """

    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_score: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    planned: int = 0

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return len(self.history)

    @property
    def scores(self) -> list[float]:
        """The validation mAP of every evaluation so far."""
        return [record[SCORE] for record in self.history if SCORE in record]

    def note_best(self, choose_epoch: str, is_last: bool) -> bool:
        """Record the newest epoch if it is the best; return whether it is.

        Args:
          choose_epoch: the setting of that name.
          is_last: no other epoch will follow, even if no evaluation is better.
        """
        scores = self.scores
        evaluated = SCORE in self.history[-1]
        if choose_epoch == "last" or not scores:
            keep = is_last
        else:
            keep = evaluated and best_evaluation(scores) == len(scores) - 1
        if keep:
            self.best_epoch = self.epoch
            self.best_score = float(window_means(scores)[-1]) if scores else -1.0
        return keep

    def is_over(self, epochs: int, patience: int | None) -> bool:
        """Return whether all epochs are done, or `patience` evaluations brought no better one."""
        exhausted = patience is not None and is_exhausted(self.scores, patience)
        return self.epoch >= epochs or exhausted


class _ProgressState(tf.train.experimental.PythonState):
    """A `Progress` inside the checkpoint, so that the two cannot disagree."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.progress))

    def deserialize(self, string_value: bytes) -> None:
        self.progress.__dict__.update(json.loads(string_value))


class Checkpoints:
    """The newest state of a training in a folder: weights, optimizers, random state, progress.

    Args:
      model: the model whose state is saved.
      progress: saved in the same file.
      path: the folder.
      writes: whether this process saves; others only read.

    Raises:
      InputError: the checkpoint in the folder is damaged.
    """

    def __init__(self, model: XGACMN, progress: Progress, path: Path, writes: bool):
        variables = [*model.variables, *model.d_optimizer.variables, *model.g_optimizer.variables]
        self._checkpoint = tf.train.Checkpoint(
            # A plain list, because following the model's attributes misses dropout's random state.
            variables=[variable.value for variable in variables],
            progress=_ProgressState(progress),
        )
        with _damage_rejected(path):
            self._manager = tf.train.CheckpointManager(self._checkpoint, str(path), max_to_keep=1)
        self._progress, self._writes = progress, writes
        self._next = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    @property
    def newest(self) -> int:
        """The epoch of the newest checkpoint; 0 where there is none."""
        return int((self._manager.latest_checkpoint or "-0").rpartition("-")[2])

    def restore(self) -> None:
        """Restore model and progress from the newest checkpoint, if there is one.

        Raises:
          InputError: the checkpoint is damaged, or of another version of this package.
        """
        newest = self._manager.latest_checkpoint
        if newest:
            with _damage_rejected(Path(newest).parent):
                self._checkpoint.restore(newest).assert_consumed()

    def save(self, is_last: bool) -> None:
        """Save if a checkpoint is due, and always after the last epoch."""
        began = time.monotonic()
        if not self._writes or not (is_last or began > self._next):
            return
        self._manager.save(checkpoint_number=self._progress.epoch)
        took = time.monotonic() - began
        pause = max(SECONDS_BETWEEN_CHECKPOINTS, SAVES_BETWEEN_CHECKPOINTS * took)
        self._next = time.monotonic() + pause


@contextlib.contextmanager
def _damage_rejected(folder: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # TensorFlow raises many types for a damaged file.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{folder} cannot be restored ({reason}); it is damaged, or of another version. Delete "
            "it to train that part from its beginning"
        ) from error

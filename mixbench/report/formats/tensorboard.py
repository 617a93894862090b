"""Write learning curves as TensorBoard event files, one per trial, with settings and results for the HPARAMS page.

A repeated report overwrites the same files, so that TensorBoard shows nothing twice.
"""

import io
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mixbench.errors import RequestError
from mixbench.results.metrics import IN_ALL
from mixbench.results.tables import Tables
from mixbench.run.record import Record
from mixbench.suite.axes import AXES

FILE = "events.out.tfevents.mixbench"
"""Name of each event file: TensorBoard reads files with `tfevents` in their names."""
CURVES = {"top1": "test/top1", "top5": "test/top5", "test_loss": "test/loss", "train_loss": "train/loss", "lr": "lr"}


def tensorboard(tables: Tables) -> dict[str, bytes]:
    """Return the files' contents by path.  Raises RequestError if tensorboard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        raise RequestError(
            "--format tensorboard needs tensorboard, which is not installed: pip install 'mixbench[tensorboard]'"
        ) from None
    several = len(tables.sources) > 1
    return {
        f"tensorboard/{f'{record.run}/' if several else ''}{record.trial_id}/{FILE}": _events(record)
        for record in tables.records
        if record.status == "done"
    }


def _events(record: Record) -> bytes:
    """Return a trial's events in TensorFlow's record format, each dated by the start plus the training time so far."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    began = _began(record)
    recipe = record.details.trial.recipe
    settings: dict[str, Any] = {axis.column: axis.value(record.details.trial) for axis in AXES} | {
        "label": record.label,
        "family": record.family,
        "epochs": recipe.epochs,
        "global_batch_size": recipe.global_batch_size,
        "optimizer": recipe.optimizer.name,
        "learning_rate": recipe.optimizer.lr,
        "weight_decay": recipe.optimizer.weight_decay,
    }
    results = {f"result/{each.column}": value for each in IN_ALL if (value := each.of(record)) is not None}
    events = [Event(wall_time=began, file_version="brain.Event:2")]
    events.append(Event(wall_time=began, summary=hparams_pb(settings, record.trial_id, began)))
    for step, seconds, values in [*_curve(record), (record.epochs or 0, record.train_seconds or 0.0, results)]:
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        moment = began + (seconds if math.isfinite(seconds) else 0.0)
        events.append(Event(wall_time=moment, step=step, summary=Summary(value=scalars)))
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()


def _curve(record: Record) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Yield for each epoch its number, the seconds of training until its end, and its values by tag."""
    seconds = 0.0
    for epoch in record.details.curve.epochs if record.details.curve else []:
        seconds += epoch.seconds
        values = {tag: getattr(epoch, name) for name, tag in CURVES.items()}
        yield epoch.epoch, seconds, {tag: value for tag, value in values.items() if value is not None}


def _began(record: Record) -> float:
    try:
        return datetime.fromisoformat(record.started_at).timestamp()
    except ValueError:
        return 0.0

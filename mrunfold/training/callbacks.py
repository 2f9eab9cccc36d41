"""What goes on beside the training steps: checkpoints, a clean stop, validation."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

__all__ = ["Checkpoints", "StepBar", "Validate"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Checkpoints(Callback):
    """Saves the run every so many steps, at its end and when a signal asks it to stop.

    The first SIGINT (Ctrl-C) or SIGTERM lets the step end, saves and stops; a second one acts at once.
    exported: called after each checkpoint on rank 0, with the module.
    """

    def __init__(self, file: Path, every: int, exported: Callable[[Any], None]) -> None:
        self.file, self.every, self.exported = file, every, exported
        self.stopped = False
        self._previous: dict[int, Any] = {}

    def _ask_to_stop(self, signum: int, frame: Any) -> None:
        self.stopped = True
        self._release()  # the next one is for whoever listened before

    def _release(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._ask_to_stop) for s in SIGNALS}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        if trainer.world_size > 1:
            # A signal may reach one process only, or reach them at different steps.
            self.stopped = trainer.strategy.reduce_boolean_decision(self.stopped, all=False)
        step = trainer.global_step
        finished = module.finished(step)
        if self.stopped or step % self.every == 0 or finished:
            trainer.save_checkpoint(self.file)
            if trainer.is_global_zero:
                self.exported(module)
        if self.stopped or finished:
            trainer.should_stop = True

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self._release()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        self._release()


class Validate(Callback):
    """Logs what `measure` says of the averaged network every so many steps, as `validation`."""

    def __init__(self, measure: Callable[[nn.Module], float], every: int) -> None:
        self.measure, self.every = measure, every

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step % self.every or not trainer.is_global_zero:
            return
        network = module.averaged
        was_training = network.training
        network.eval()
        with torch.no_grad():
            value = float(self.measure(network))
        network.train(was_training)
        # Not module.log: that writes at the logger's own steps only.
        for logger in trainer.loggers:
            logger.log_metrics({"validation": value}, step=trainer.global_step)


class StepBar(Callback):
    """A bar on a terminal's stderr: step or minutes, loss, time left; nothing where stderr is no terminal.

    Lightning's own bars count epochs, and show a wrong total for a run that was resumed in one.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if not trainer.is_global_zero or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn(self.label),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar.add_task("", total=module.amount, completed=self._done(trainer, module), loss="…")
        self._bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        if self._bar is not None:
            loss = float(trainer.callback_metrics["loss"])
            done = self._done(trainer, module)
            self._bar.update(self._bar.task_ids[0], completed=done, loss=f"{loss:.4f}")

    def _done(self, trainer: lightning.Trainer, module: Any) -> float:
        return trainer.global_step if module.settings.minutes is None else round(module.minutes, 1)

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, module)

"""What a run shows while it trains: one live line on a terminal, plain lines elsewhere.

Figures are those that the module logs for the bar. Nothing is shown of validation but its figures.
"""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column


class Progress(ProgressBar):
    """A Rich bar on a terminal; otherwise a line an epoch, and one every few seconds.

    Args:
        every_seconds: between plain lines within an epoch.
        console: where to; standard output by default.
    """

    def __init__(self, every_seconds: float = 15.0, console: Console | None = None) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self.console = console or Console()
        self._shown = True
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._spoken = self._started = 0.0

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._shown = False

    def enable(self) -> None:
        """Show again."""
        self._shown = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        self._started = self._spoken = time.monotonic()
        if self._shown and self.console.is_terminal:
            # On a narrow terminal the figures give way, never the place and the time.
            narrow = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            self._bar = Bar(
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(16),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[figures]}", table_column=narrow),
                console=self.console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task("training", total=_steps(pl_module), figures="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on, or say a line when it is time."""
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=trainer.global_step,
                description=_epoch(trainer),
                figures=self._figures(trainer, pl_module),
            )
        elif time.monotonic() - self._spoken >= self.every_seconds:
            self._say(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line an epoch where there is no bar."""
        if self._bar is None:
            self._say(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar and leave the last figures."""
        self._close()
        self._say(trainer, pl_module, "trained")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, trainer: Trainer, pl_module: LightningModule, what: str = "") -> None:
        if not self._shown:
            return
        self._spoken = time.monotonic()
        place = what or f"{_epoch(trainer)} · step {trainer.global_step}/{_steps(pl_module)}"
        seconds = self._spoken - self._started
        figures = self._figures(trainer, pl_module)
        self.console.print(
            f"{place} · {seconds:.0f} s · {figures}", highlight=False, soft_wrap=True
        )

    def _figures(self, trainer: Trainer, pl_module: LightningModule) -> str:
        known = {k: v for k, v in self.get_metrics(trainer, pl_module).items() if k != "v_num"}
        return " ".join(
            f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in known.items()
        )


def _epoch(trainer: Trainer) -> str:
    total = trainer.max_epochs
    if not total or total < 0:
        return f"epoch {trainer.current_epoch + 1}"
    return f"epoch {min(trainer.current_epoch + 1, total)}/{total}"


def _steps(module: Any) -> int:
    """The optimizer's, as `trainer.max_steps` counts them; training begins only with an end set."""
    return int(module.total_steps)

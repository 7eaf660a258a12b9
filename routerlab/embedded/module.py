"""Trains the embedded LALM: next-token loss on answers, likelihood exams, export to a folder.

It builds the model of the given sizes from nothing, in `setup`, because the tokenizer is trained on
what the data module prepared. It knows neither tools nor actions.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Literal, cast

import lightning
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from routerlab.embedded.architectures import ARCHITECTURES, Sizes
from routerlab.embedded.batch import Batch
from routerlab.embedded.build import build, resume
from routerlab.embedded.data import EmbeddedDataModule
from routerlab.embedded.encode import Encoder
from routerlab.embedded.export import Exam, export


class EmbeddedLALMModule(lightning.LightningModule):
    """Supervised training of a small LALM.

    Args:
        sizes: of the model that is built.
        architecture: of it; "qwen2_5_omni" or "qwen2_audio".
        out: the `from_pretrained` folder that is written at the end; "" writes none.
        start: a folder that an earlier training wrote, to go on from its weights with a new
            schedule; "" starts from random weights. `sizes` and
            `architecture` then come from there.
        lr: peak of the one-cycle schedule.
        warmup: share of the steps until the peak.
        cycle: steps of the schedule; 0 is all of the trainer's, more leaves its end unrun.
        seed: of the initial weights.
    """

    def __init__(
        self,
        sizes: Sizes | None = None,
        out: str = "runs/embedded-lalm",
        start: str = "",
        lr: float = 2e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.08,
        cycle: int = 0,
        seed: int = 0,
        architecture: Literal["qwen2_5_omni", "qwen2_audio"] = "qwen2_5_omni",
    ) -> None:
        super().__init__()
        self.architecture = ARCHITECTURES[architecture]
        self.sizes, self.out, self.start, self.seed = sizes or Sizes(), out, start, seed
        self.lr, self.weight_decay, self.warmup, self.cycle = lr, weight_decay, warmup, cycle
        self.exam = Exam()
        self._folder = Path(tempfile.mkdtemp(prefix="routerlab-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def setup(self, stage: str) -> None:
        """Build the model and hand its tokenizer to the data module."""
        data = self._data()
        if not hasattr(self, "model"):
            if self.start:
                self.model, self.architecture = resume(self._folder, self.start)
            else:
                how: dict[str, Any] = {"seed": self.seed, "architecture": self.architecture}
                self.model = build(self._folder, data.corpus(), self.sizes, **how)
            idle = self.architecture.unused(self.model)
            if idle is not None:
                idle.requires_grad_(False)
        around = self.architecture.family.around
        data.connect(Encoder(self._tokenizer(), data.system, around), self.sizes.mel_bins)

    def _data(self) -> EmbeddedDataModule:
        return cast(EmbeddedDataModule, cast(Any, self.trainer).datamodule)

    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder)

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities' negatives of all target ids, in row-major order of their places."""
        inner: Any = self.model.model
        embeds = inner.language_model.embed_tokens(batch.ids)
        if len(batch.owner):
            embeds = embeds.clone()
            heard = self.architecture.features(self.model, batch.mels, batch.frames)
            slots = batch.ids == self.model.config.audio_token_id
            embeds[slots] = heard.to(embeds.dtype)
        hidden = inner.language_model(
            inputs_embeds=embeds,
            attention_mask={"full_attention": batch.mask()},
            position_ids=self.architecture.positions(batch.position),
            use_cache=False,
        ).last_hidden_state
        asked = batch.target >= 0
        logits = self.model.lm_head(hidden[asked]).float()
        return F.cross_entropy(logits, batch.target[asked], reduction="none")

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Mean loss over all answer ids in the batch."""
        loss = self(batch).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids))
        return cast(Tensor, loss)

    def on_validation_epoch_start(self) -> None:
        """Start an empty exam."""
        self.exam = Exam()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Choose the option of the best mean log-probability, for every prompt of every row."""
        scores = -self(batch)
        rows, places = (batch.target >= 0).nonzero(as_tuple=True)
        branch = batch.branch[rows, places]
        for row, example in enumerate(batch.examples):
            mine = rows == row
            self.exam.add(example, scores[mine].tolist(), branch[mine].tolist())

    def on_validation_epoch_end(self) -> None:
        """Log accuracy by sort of prompt, and by family."""
        for name, accuracy in self.exam.accuracy().items():
            self.log(f"val/{name}", accuracy, prog_bar="/" not in name)

    def configure_optimizers(self) -> Any:
        """AdamW on a one-cycle schedule over the trainer's steps."""
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, betas=(0.9, 0.98))
        steps = self.cycle or int(self.trainer.estimated_stepping_batches)
        schedule = OneCycleLR(optimizer, self.lr, total_steps=steps, pct_start=self.warmup)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_fit_end(self) -> None:
        """Write the folder that `LALM.load` reads, with a card of what was measured."""
        if self.out and self.trainer.is_global_zero:
            export(self.model, self._folder, Path(self.out), self.exam, self._facts())

    def _facts(self) -> dict[str, Any]:
        data = self._data()
        return {
            "training clips": data.clips,
            "held-out clips": data.exam_clips,
            "steps": self.trainer.global_step,
            "clips a step": data.batch_size,
            "prompts a clip, at most": data.branches,
            "peak learning rate": self.lr,
            "seed of data": data.seed,
            "seed of weights": self.seed,
        }

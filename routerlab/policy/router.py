"""The router: an audio language model whose logits over label tokens are the policy.

    [system: cards under labels]  once a batch, its keys and values shared with gradients
      └─ clip (features cached: the tower is frozen) · question · choices · "action:"
           └─ logits of the labels, centred, in the order of the actions

That is the plain prompt; `routerlab.policy.layouts` has another, in which the cue alone sees the
cards.

One forward a decision; nothing is generated, so no call can be invalid. It knows nothing of
rewards, outcomes, objectives or optimizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from routerlab.errors import UserError
from routerlab.lalm.device import AUTO, present, resolve
from routerlab.lalm.model import LALM, DType
from routerlab.lalm.quant import Quantize, missing
from routerlab.policy import adapter
from routerlab.policy.layouts import LAYOUTS, Layout
from routerlab.policy.prompt import label_text, labels_for, system_text, with_direct
from routerlab.types import Clip, QuestionBatch, ToolCard


class RouterPolicy(nn.Module):
    """A LALM with LoRA that reads cards, hears the clip and picks one label.

    Light to construct: weights are loaded by `configure`, when the cards are known.

    Args:
        lalm: "embedded", a folder or a hub id.
        revision: of a hub id.
        lora_r: rank of the adapter.
        lora_alpha: its scale is alpha / r.
        lora_layers: adapt only so many of the last layers; what the others make of a question is
            computed once and kept (about three times as fast with half of them). None adapts all.
        train_embeddings: train the token embeddings (and a head tied to them) too.
        cards: "first" is a plain prompt, the cards before everything else; "apart" shows them to
            the cue alone, so that the LALM hears as it does without them.
        audio: "zero" hears silence: the no-audio control.
        shuffle_labels: training shows the cards in another order at every step.
        center: take the mean label logits before training off, so that no label is favoured.
        cache_audio: keep each clip's features, by fingerprint.
        dtype: of the LALM; the adapter is float32 whatever this is.
        max_seconds: sound beyond this is not heard; None leaves it to the LALM.
        gradient_checkpointing: keep no activations in layers: less memory, a third more time.
        quantize: "4bit" holds the LALM in four bits (needs a CUDA device and the extra `quant`).
        device: where it answers outside training: auto, cpu, cuda or cuda:N; "auto" follows the
            Trainer, else takes a GPU where there is one. Training is where the Trainer says.
    """

    centre: Tensor

    def __init__(
        self,
        lalm: str = "embedded",
        *,
        revision: str | None = None,
        lora_r: int = 16,
        lora_alpha: float = 32,
        lora_layers: int | None = None,
        train_embeddings: bool = False,
        cards: Literal["first", "apart"] = "first",
        audio: Literal["on", "zero"] = "on",
        shuffle_labels: bool = False,
        center: bool = True,
        cache_audio: bool = True,
        dtype: DType = "float32",
        max_seconds: float | None = None,
        gradient_checkpointing: bool = False,
        quantize: Quantize = "none",
        device: str = AUTO,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _SETTINGS}
        super().__init__()
        self.settings: dict[str, Any] = given
        self.shuffle_labels = shuffle_labels
        self.center = center
        self.cards: tuple[ToolCard, ...] = ()
        self.labels: tuple[str, ...] = ()
        self.lalm: LALM | None = None
        self.register_buffer("centre", torch.zeros(0))
        self._label_ids = torch.zeros(0, dtype=torch.long)
        self._heard: dict[str, Tensor] = {}
        self._layout: Layout | None = None

    def problems(self) -> list[str]:
        """What its settings need and this machine has not, one line each."""
        rank, alpha = self.settings["lora_r"], self.settings["lora_alpha"]
        found = []
        if rank < 1 or alpha < 1 or alpha != int(alpha):
            found = [f"router: lora_r {rank}, lora_alpha {alpha:g}. Allowed: whole numbers from 1."]
        layers = self.settings["lora_layers"]
        if layers is not None and layers < 1:
            found.append(f"router: lora_layers {layers}. Allowed: 1 or more, or null for all.")
        if layers is not None and self.settings["train_embeddings"]:
            found.append(
                "router: lora_layers and train_embeddings, which change what every layer sees. "
                "Leave one of them out."
            )
        try:
            place = present(resolve(self.settings["device"]))
        except UserError as error:
            return [*found, str(error)]
        return found + missing(self.settings["quantize"], place)

    # --- before the first forward -------------------------------------------------------------

    def configure(
        self, cards: Sequence[ToolCard], *, seed: int = 0, lalm: LALM | None = None
    ) -> None:
        """Load the LALM, put the adapter in and take the cards; a second call only changes cards.

        Args:
            cards: one a tool; direct's own card is put first where it is missing.
            seed: of the adapter's first weights.
            lalm: loaded already, and not to be loaded by its name; the adapter is put into it.

        Raises:
            UserError: no such LALM, or too many tools for the labels.
        """
        if self.lalm is None:
            self._adapt(lalm or self._load(), seed)
        shown = with_direct(cards)
        if shown != self.cards:
            self.cards, self.labels = shown, labels_for(len(shown))
            self._label_ids = torch.tensor([self._label_id(label) for label in self.labels])
            self.centre = torch.zeros(len(shown), device=self._lalm.device)
            self._layout = LAYOUTS[self.settings["cards"]](
                self._lalm,
                self.decoder,
                system_text(shown, self.labels),
                self._frozen_layers(),
            )

    def center_on(self, batches: Iterable[QuestionBatch], seed: int = 0) -> None:
        """Measure the mean label logits over questions; forward takes them off from now on.

        With shuffled labels each batch is shown in another order, so that what is taken off is the
        label's own attraction and not its card's.
        """
        if not self.center:
            return
        draw = torch.Generator().manual_seed(seed)
        total, count = torch.zeros_like(self.centre), 0
        with torch.no_grad():
            for batch in batches:
                order = torch.randperm(len(self.cards), generator=draw).tolist()
                (read,) = self._label_logits(batch, [order if self.shuffle_labels else None])
                total += read.sum(0)
                count += len(batch)
        self.centre = total / max(1, count)

    @torch.no_grad()
    def meet(self, batch: QuestionBatch) -> None:
        """Keep of a batch what its first forward would keep, and answer nothing."""
        if self.settings["cache_audio"]:
            self._features(batch.clips)
        if self.settings["lora_layers"] is not None and not self.shuffle_labels:
            self(batch)

    # --- the policy ---------------------------------------------------------------------------

    def forward(self, batch: QuestionBatch, order: Sequence[int] | None = None) -> Tensor:
        """Centred logits, float32 [B, K+1] in action order.

        Args:
            batch: B questions with their clips.
            order: `order[i]` is the action shown under label i; the actions' own order by default.
        """
        (read,) = self._label_logits(batch, [order])
        logits = read - self.centre
        return logits if order is None else logits[:, torch.tensor(order).argsort()]

    @torch.no_grad()
    def probabilities(self, batch: QuestionBatch) -> Tensor:
        """π, float32 [B, K+1] in action order."""
        return self(batch).softmax(-1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def reference(self, batch: QuestionBatch, order: Sequence[int] | None = None) -> Tensor:
        """`forward` with the adapter off: the policy before training (embeddings too)."""
        with self.plainly():
            return self(batch, order)  # type: ignore[no-any-return]

    def plainly(self) -> AbstractContextManager[None]:
        """For a while, the LALM as it came: adapter off."""
        return self._model.disable_adapter()  # type: ignore[no-any-return]

    @torch.no_grad()
    def prompted(self, batch: QuestionBatch, rotations: int | None = None) -> Tensor:
        """π of the LALM as it came, prompted and not trained, [B, K+1].

        Neither adapter nor centring; averaged over rotations of the labels (all of them by
        default), since a plain LALM likes some labels whatever they stand for.
        """
        count = len(self.cards)
        turns = range(0, count, max(1, count // (rotations or count)))
        total = torch.zeros(len(batch), count, device=self.centre.device)
        orders = [[(i + turn) % count for i in range(count)] for turn in turns]
        with self.plainly():
            read = self._label_logits(batch, orders)
        for order, logits in zip(orders, read, strict=True):
            total += logits.softmax(-1)[:, torch.tensor(order).argsort()]
        return total / len(turns)

    def _label_logits(
        self, batch: QuestionBatch, orders: Sequence[Sequence[int] | None]
    ) -> list[Tensor]:
        """Uncentred logits [B, K+1] in label order, under each of some orders of the cards."""
        if self._layout is None:
            raise RuntimeError("RouterPolicy.configure(cards) comes before its first use")
        systems = [system_text(self.cards, self.labels, order) for order in orders]
        # Layers are run again for a backward pass, never without one.
        again = self.settings["gradient_checkpointing"] and torch.is_grad_enabled()
        found = self._layout.read(batch, self._features(batch.clips), systems, recompute=again)
        return [self._lalm.logits(ends, self._label_ids.to(ends.device)) for ends in found]

    def _features(self, clips: Sequence[Clip]) -> list[Tensor]:
        new = {c.fingerprint: c for c in clips if c.fingerprint not in self._heard}
        hear = self._lalm.silence if self.settings["audio"] == "zero" else self._lalm.audio_features
        heard = dict(zip(new, hear(list(new.values())), strict=True))
        if self.settings["cache_audio"]:
            # In the host's memory: a training set's features are larger than a batch's work.
            self._heard.update((key, sound.cpu()) for key, sound in heard.items())
        return [heard[c.fingerprint] if c.fingerprint in heard else self._heard[c.fingerprint]
                for c in clips]  # fmt: skip

    # --- loading and saving -------------------------------------------------------------------

    @property
    def base_fingerprint(self) -> str:
        """SHA-256 of the LALM underneath."""
        return self._lalm.fingerprint

    def save_adapter(self, folder: str | Path) -> None:
        """PEFT's own files and `router.json`."""
        record = adapter.RouterRecord(
            settings={name: self.settings[name] for name in self.settings if name != "device"},
            base_fingerprint=self.base_fingerprint,
            cards=self.cards,
            labels=self.labels,
            centre=adapter.as_tuple(self.centre),
            seconds_kept=self._lalm.max_seconds,
        )
        adapter.save_adapter(self._model, Path(folder), record)

    @classmethod
    def load(
        cls, folder: str | Path, *, lalm: str | None = None, device: str = AUTO
    ) -> RouterPolicy:
        """A saved router, ready to choose.

        Args:
            folder: what `save_adapter` wrote.
            lalm: where the base is now, if it is not where it was.
            device: where it answers.

        Raises:
            UserError: not a saved router, or another base than it was trained on.
        """
        record = adapter.RouterRecord.read(Path(folder))
        settings = record.settings | ({"lalm": lalm} if lalm else {})
        place = present(resolve(device))
        policy = cls(**settings, device=device)
        policy.configure(record.cards)
        adapter.check_base(record.base_fingerprint, policy.base_fingerprint, str(folder))
        adapter.load_weights(policy._model, Path(folder))
        policy.centre = torch.tensor(record.centre)
        return policy.to(place)

    def _load(self) -> LALM:
        given = self.settings
        named = {name: given[name] for name in ("revision", "dtype", "max_seconds", "quantize")}
        # A Trainer moves the weights to its device; those in four bits are made on a GPU.
        place = "cpu" if given["quantize"] == "none" else str(resolve(given["device"]))
        return LALM.load(given["lalm"], device=place, **named)

    def _adapt(self, lalm: LALM, seed: int) -> None:
        given, self.lalm = self.settings, lalm
        lalm.model = self.model = adapter.inject_lora(
            lalm.model,
            rank=given["lora_r"],
            alpha=given["lora_alpha"],
            layers=range(self._frozen_layers(), len(self.decoder.layers)),
            train_embeddings=given["train_embeddings"],
            name=given["lalm"],
            seed=seed,
        )
        # These families have no dropout: the mode changes nothing but Lightning's warnings.
        self.train(self.training)

    @property
    def _lalm(self) -> LALM:
        if self.lalm is None:
            raise RuntimeError("RouterPolicy.configure(cards) comes before its first use")
        return self.lalm

    @property
    def _model(self) -> Any:
        return self._lalm.model

    def _frozen_layers(self) -> int:
        """Layers below the adapter, whose states may be kept (the setting `lora_layers`)."""
        wanted, has = self.settings["lora_layers"], len(self.decoder.layers)
        if wanted is None:
            return 0
        if not 0 < wanted <= has:
            raise UserError(f"router: lora_layers {wanted}. {self.settings['lalm']!r} has {has}.")
        return has - int(wanted)

    @property
    def decoder(self) -> Any:
        """The text model inside the LALM, LoRA included."""
        return self._lalm._family.decoder(self._lalm.base)

    def _label_id(self, label: str) -> int:
        ids = self._lalm.text_ids(label_text(label))
        if len(ids) != 1:
            raise UserError(
                f"router: label {label!r} is {len(ids)} tokens in {self.settings['lalm']!r}. Each "
                "label must be one token after a blank: use fewer tools or another LALM."
            )
        return ids[0]


_SETTINGS = frozenset(signature(RouterPolicy.__init__).parameters) - {"self"}

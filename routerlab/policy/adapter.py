"""LoRA in a LALM, and a router's two files: PEFT's own, and `router.json` beside them.

`router.json` holds what makes an adapter's label logits mean something: prompt version, labels,
centring, cards, and the fingerprint of the base it was trained on. Nothing here runs a model.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from routerlab.errors import UserError
from routerlab.policy.prompt import PROMPT_VERSION
from routerlab.types import ToolCard

ROUTER_FILE = "router.json"
WEIGHTS_FILE = "adapter_model.safetensors"

PARTS = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
"""The linear parts of a text model's layer."""


@dataclass(frozen=True)
class RouterRecord:
    """What `router.json` says.

    Attributes:
        settings: keyword arguments of `RouterPolicy`.
        base_fingerprint: SHA-256 of the LALM that the adapter belongs to.
        cards: one an action, direct's own first.
        labels: one an action, in label order.
        centre: what is taken off each label's logit, one a label.
        seconds_kept: of a clip; what is longer was cut. None in older files.
    """

    settings: dict[str, Any]
    base_fingerprint: str
    cards: tuple[ToolCard, ...]
    labels: tuple[str, ...]
    centre: tuple[float, ...]
    seconds_kept: float | None = None
    prompt_version: str = field(default=PROMPT_VERSION)

    def write(self, folder: Path) -> None:
        """Write `router.json`."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)
        (folder / ROUTER_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> RouterRecord:
        """Read `router.json`; UserError if it is missing or of another prompt version."""
        path = folder / ROUTER_FILE
        if not path.is_file() or not (folder / WEIGHTS_FILE).is_file():
            raise UserError(
                f"router: {folder} is no saved router. Allowed: a folder with {ROUTER_FILE} and "
                f"{WEIGHTS_FILE}, as `routerlab fit` leaves in its run folder."
            )
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["prompt_version"] != PROMPT_VERSION:
            raise UserError(
                f"router: {folder} was trained with prompt {raw['prompt_version']!r}; this version "
                f"writes {PROMPT_VERSION!r}. Train it again."
            )
        return cls(
            settings=raw["settings"],
            base_fingerprint=raw["base_fingerprint"],
            cards=tuple(ToolCard(**card) for card in raw["cards"]),
            labels=tuple(raw["labels"]),
            centre=tuple(raw["centre"]),
            seconds_kept=raw.get("seconds_kept"),
        )


def check_base(expected: str, found: str, what: str) -> None:
    """Refuse a base with another fingerprint: its weights would load without a word."""
    if expected != found:
        raise UserError(
            f"router: {what} belongs to a LALM with fingerprint {expected[:12]}…, but the one "
            f"loaded has {found[:12]}…. Give the LALM it was trained on (setting `lalm`)."
        )


def targets(layers: range) -> str:
    """The linear parts of these layers; an expression, as peft orders a set by PYTHONHASHSEED."""
    numbers = "|".join(str(layer) for layer in layers)
    return rf".*language_model\..*layers\.({numbers})\..*\.({PARTS})"


def inject_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    layers: range,
    train_embeddings: bool,
    name: str,
    seed: int,
) -> nn.Module:
    """A `PeftModel` around `model`, its adapter drawn from `seed` alone and doing nothing yet.

    What is trained is float32 whatever the base is: steps of 1e-5 would vanish in bfloat16.
    """
    from peft import LoraConfig, get_peft_model

    tied: dict[str, Any] = {}
    if train_embeddings:
        tied = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": _is_tied(model)}
    config = LoraConfig(
        r=rank,
        lora_alpha=int(alpha),
        target_modules=targets(layers),
        **tied,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers for a property under its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        torch.manual_seed(seed)
        wrapped: nn.Module = get_peft_model(model, config)
    for parameter in trainable(wrapped).values():
        parameter.data = parameter.data.float()
    adapted: list[Any] = [m for m in wrapped.modules() if hasattr(m, "cast_input_dtype_enabled")]
    for layer in adapted:
        # `mixed_precision` narrows the adapter's weights; what they read need not be widened.
        layer.cast_input_dtype_enabled = False
    # get_peft_model writes the folder that the base was loaded from; a saved router names the LALM.
    wrapped.peft_config["default"].base_model_name_or_path = name  # type: ignore[index, union-attr]
    return wrapped


def mixed_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Compute in the base's precision, the adapter too, which is held in float32.

    An adapter's weights are narrowed anew at each use: what was narrowed without gradients must
    not be met again where they are wanted.
    """
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype, cache_enabled=False)


def _is_tied(model: Any) -> bool:
    """Whether the head is the embeddings; in models of 7B it is another matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def trainable(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name, in the order of the module."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def save_adapter(model: Any, folder: Path, record: RouterRecord) -> None:
    """PEFT's own format (safetensors) and `router.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    record.write(folder)


def load_weights(model: Any, folder: Path) -> None:
    """Fill an injected adapter from a folder; UserError if the shapes or names do not fit."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result: Any = set_peft_model_state_dict(model, load_file(str(folder / WEIGHTS_FILE)))
    if result.unexpected_keys:
        raise UserError(
            f"router: {folder} holds weights that this LALM has no place for "
            f"({result.unexpected_keys[0]} …). Give the LALM it was trained on."
        )


def as_tuple(values: Sequence[float] | Tensor) -> tuple[float, ...]:
    """Numbers for JSON."""
    return tuple(float(v) for v in values)


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `RouterPolicy`, as plain JSON values."""
    loaded: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    return loaded

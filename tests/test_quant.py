"""Four bits: what the setting needs is said in a line each, before a weight is read."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from transformers.quantizers.quantizers_utils import should_convert_module

from routerlab.bench.sizes import SIZES
from routerlab.errors import UserError
from routerlab.lalm.model import LALM
from routerlab.lalm.quant import KEPT_WIDE, four_bit, missing
from routerlab.policy.router import RouterPolicy

CPU = torch.device("cpu")
without_extra = pytest.mark.skipif(
    find_spec("bitsandbytes") is not None, reason="the extra `quant` is installed"
)


def test_nothing_is_needed_for_nothing_and_other_words_are_refused() -> None:
    assert missing("none", CPU) == []
    assert missing("8bit", CPU) == ["quantize: '8bit'. Allowed: none, 4bit."]


def test_a_processor_is_refused_by_router_and_loader_alike() -> None:
    line = missing("4bit", CPU)[0]
    assert line.startswith("quantize: 4bit on cpu. Allowed: a CUDA device.")
    assert line in RouterPolicy(quantize="4bit", device="cpu").problems()
    with pytest.raises(UserError, match=r"^lalm: quantize: 4bit on cpu\. Allowed: a CUDA device"):
        LALM.load(quantize="4bit")


@without_extra
def test_the_extra_that_is_missing_is_named() -> None:
    (line,) = [line for line in missing("4bit", CPU) if "bitsandbytes" in line]
    assert line.endswith('Run: pip install "routerlab[quant]"')


@pytest.mark.parametrize("size", ["7b", "qwen2audio"])
def test_only_the_text_model_s_linear_parts_would_be_narrowed(size: str) -> None:
    """By transformers' own rule, on the names of the published models."""
    model = SIZES[size].build(torch.device("meta"), torch.bfloat16)
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    narrowed = {name for name in linear if should_convert_module(name, list(KEPT_WIDE))}
    assert narrowed == {name for name in linear if ".language_model." in name}
    assert len(linear) - len(narrowed) > 190


@pytest.mark.skipif(not torch.cuda.is_available(), reason="four bits need a CUDA device")
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs the extra `quant`")
def test_only_the_text_model_s_linear_parts_are_narrowed() -> None:
    config = four_bit(torch.device("cuda"), torch.bfloat16)["quantization_config"]
    assert config.load_in_4bit
    assert set(config.llm_int8_skip_modules) == set(KEPT_WIDE)

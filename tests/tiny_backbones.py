"""Checkpoints as the two families publish them, only tiny: random weights, everything else real.

The whole of Qwen2.5-Omni (thinker, talker and wave decoder under their own prefixes, in shards with
an index) and Qwen2-Audio, each with its configuration classes, `Qwen2Tokenizer`, special tokens,
processor and chat format. And questions for them, in the formats that the recipes' data come in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny import CORPUS
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from routerlab.data.synth.make import make
from routerlab.data.writers import write_lines
from routerlab.embedded.build import SPECIAL_TOKENS, train_tokenizer

WIDTH, LAYERS, BINS = 32, 2, 16
SECONDS = 4
"""What the tiny encoders take; the published ones take 300 s (Omni) and 30 s (Qwen2-Audio)."""

# In the order of the published ids (151643 …), which is not that of the embedded LALM.
TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_bos|>", "<|vision_eos|>",
    "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>",
)  # fmt: skip

TALKER_IDS = (
    "tts_text_start_token_id", "tts_text_end_token_id", "tts_text_pad_token_id",
    "tts_codec_start_token_id", "tts_codec_end_token_id", "tts_codec_pad_token_id",
    "tts_codec_mask_token_id", "vision_start_token_id", "vision_end_token_id",
    "audio_start_token_id", "audio_end_token_id", "pad_token_id",
)  # fmt: skip

# Omni's own format; what it says of images and videos is left out.
OMNI_CHAT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>"
    "system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'audio' %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> Qwen2Tokenizer:
    """A small vocabulary in the class, and under the special tokens, that Qwen publishes."""
    trained = json.loads(train_tokenizer(CORPUS, 460).backend_tokenizer.to_str())["model"]
    pieces = [piece for piece in trained["vocab"] if piece not in SPECIAL_TOKENS]
    vocabulary = {piece: i for i, piece in enumerate((*pieces, *TOKENS))}
    named = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>",
             "audio_eos_token": "<|audio_eos|>", "image_token": "<|IMAGE|>",
             "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
             "vision_eos_token": "<|vision_eos|>"}  # fmt: skip
    made = Qwen2Tokenizer(
        vocabulary,
        [tuple(pair) for pair in trained["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=named,
    )
    made.add_special_tokens({"additional_special_tokens": list(TOKENS)})
    # As published: tokens that are added, but not marked special.
    made.add_tokens(["<tool_call>", "</tool_call>", "<|fim_prefix|>"])
    return made


def front_end() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(
        feature_size=BINS, chunk_length=SECONDS, return_attention_mask=True
    )


def text_config(words: Qwen2Tokenizer, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(words) + 5,  # the published tables are longer than the vocabulary
        "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "pad_token_id": words.pad_token_id, **more,
    }  # fmt: skip


def audio_config(**more: Any) -> dict[str, Any]:
    return {
        "num_mel_bins": BINS, "d_model": WIDTH, "encoder_layers": 1, "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48, "max_source_positions": 50 * SECONDS, **more,
    }  # fmt: skip


def omni_config(words: Qwen2Tokenizer) -> Qwen2_5OmniConfig:
    ids = words.get_vocab()
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text = text_config(words, rope_parameters=rope, tie_word_embeddings=False)
    thinker = {
        "text_config": text,
        "audio_config": audio_config(n_window=50, output_dim=WIDTH),
        "vision_config": {
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 2,
            "spatial_merge_size": 1, "temporal_patch_size": 1, "window_size": 4,
            "out_hidden_size": WIDTH, "fullatt_block_indexes": [0],
        },
        "audio_token_index": ids["<|AUDIO|>"], "image_token_index": ids["<|IMAGE|>"],
        "video_token_index": ids["<|VIDEO|>"], "audio_start_token_id": ids["<|audio_bos|>"],
        "audio_end_token_id": ids["<|audio_eos|>"], "tie_word_embeddings": False,
    }  # fmt: skip
    talker = {
        **text, "vocab_size": 40, "embedding_size": WIDTH, "head_dim": 16,
        **dict.fromkeys(TALKER_IDS, 1),
    }  # fmt: skip
    voice = {
        "dit_config": {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8,
            "emb_dim": 8, "num_embeds": 9, "mel_dim": 8, "enc_emb_dim": 8, "enc_dim": 8,
            "enc_channels": [8, 8, 8, 8, 24], "enc_attention_channels": 4, "enc_res2net_scale": 2,
            "enc_se_channels": 4, "look_ahead_layers": [0], "look_backward_layers": [0],
        },
        "bigvgan_config": {"mel_dim": 8, "upsample_initial_channel": 64},
    }  # fmt: skip
    return Qwen2_5OmniConfig(thinker_config=thinker, talker_config=talker, token2wav_config=voice)


def omni_folder(folder: Path, seed: int = 0) -> str:
    """Write all of a tiny Qwen2.5-Omni, as the hub has it."""
    words = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5OmniForConditionalGeneration(omni_config(words))
    model.save_pretrained(folder, max_shard_size="200KB")
    Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(), Qwen2VLVideoProcessor(), front_end(), words, OMNI_CHAT
    ).save_pretrained(folder)
    front_end().save_pretrained(folder)
    return str(folder)


def qwen2_audio_folder(folder: Path, seed: int = 0) -> str:
    """Write a tiny Qwen2-Audio, as the hub has it."""
    words = tokenizer()
    config = Qwen2AudioConfig(
        text_config=text_config(words, model_type="qwen2"),
        audio_config=audio_config(model_type="qwen2_audio_encoder"),
        audio_token_index=words.get_vocab()["<|AUDIO|>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Qwen2AudioForConditionalGeneration(config).save_pretrained(folder, max_shard_size="100KB")
    Qwen2AudioProcessor(front_end(), words).save_pretrained(folder)
    front_end().save_pretrained(folder)
    return str(folder)


def questions_folder(folder: Path) -> str:
    """Generated questions as the recipes' data lie: AVQA's form, MMAU's and MMAR's, by split."""
    made = make(folder, train=20, val=4, test=5, ood=4, seed=3, workers=1)
    rows = {path.stem: json.loads(path.read_text()) for path in made.values()}
    write_lines(
        folder / "train.jsonl",
        [
            {
                "id": number, "video_name": "x", "dataset_name": "AVQA",
                "audio_path": row["audio_id"], "question_text": row["question"],
                "multi_choice": row["choices"], "answer": row["choices"].index(row["answer"]),
                "question_type": "Happening",
            }
            for number, row in enumerate(rows["train"])
        ],
    )  # fmt: skip
    write_lines(
        folder / "test_ood.jsonl",
        [
            {
                "id": row["id"], "audio_path": row["audio_id"], "question": row["question"],
                "choices": str(row["choices"]), "answer": row["answer"], "modality": "sound",
            }
            for row in rows["test_ood"]
        ],
    )  # fmt: skip
    (folder / "train.json").unlink()
    (folder / "test_ood.json").unlink()
    return str(folder)

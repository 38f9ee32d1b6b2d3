"""A model made on the spot: small enough for a CPU, real enough for vLLM, with nothing downloaded.

Its weights are noise (vLLM's `--load-format dummy` draws them), so what it says is noise too; but the server, the
tokenizer, the chat template, the KV cache and the scheduler are the real ones, which is what a fair queue is tried on.

It has no end-of-text token: a call runs for exactly its `max_tokens` (or until one of its own stop strings), so the
lengths in a trial are the lengths that were asked for. A call that sets no limit runs to the model's full context.

`tokenizers` and `transformers` come with the engine and are imported only when a model is made.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

VOCABULARY_SIZE = 2048
MAX_MODEL_LEN = 16_384
_RECIPE = 1
"""Part of the folder's name: raise it when anything below changes, so that an old folder is not taken for a new one."""

_SPECIAL_TOKENS = ("<|pad|>", "<|im_start|>", "<|im_end|>")

_CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nTools: ' + (tools | tojson) + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": VOCABULARY_SIZE,
    "max_position_embeddings": MAX_MODEL_LEN,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}


def cache_folder() -> Path:
    """Where the model is kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "justitia" / f"tiny-{_RECIPE}"


def ensure_tiny_model(folder: Path | None = None) -> Path:
    """The folder with the model, made now if it is not there yet. Two processes may ask at once.

    Raises ImportError if `tokenizers` or `transformers` is missing, OSError if the folder cannot be written.
    """
    target = cache_folder() if folder is None else folder
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _write_model(making)
        try:
            making.rename(target)
        except OSError:
            # Somebody else was quicker (a folder that is not empty cannot be renamed over); theirs is the same model.
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _write_model(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=MAX_MODEL_LEN,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = _CHAT_TEMPLATE
    fast.save_pretrained(str(folder))
    (folder / "generation_config.json").write_text(json.dumps({"pad_token_id": 0}) + "\n")
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")


def _training_text() -> Iterator[str]:
    """English and code from Python's own documentation, and the JSON that agents and tools exchange."""
    from pydoc_data.topics import topics

    yield from topics.values()
    draw = random.Random(0)
    words = ["search", "query", "result", "title", "content", "role", "user", "assistant", "tool", "arguments", "name"]
    for _ in range(2000):
        record = {
            draw.choice(words): draw.choice(words),
            "id": draw.randrange(10_000),
            "score": round(draw.random(), 3),
        }
        yield json.dumps({"name": draw.choice(words), "arguments": record})

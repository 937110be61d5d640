"""A tokenizer that comes with no model: one token a character, and a chat template."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHARACTERS = ["<pad>", "<s>", "</s>", "\n", *map(chr, range(32, 127))]
SYSTEM = "Be brief."
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<s>system\n" + SYSTEM + "</s>{% endif %}"
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path, size: int = len(CHARACTERS)) -> None:
    """One token a character; a larger vocabulary is filled up with tokens that no text has, but that a model may say."""
    unused = (f"<{i}>" for i in range(len(CHARACTERS), size))
    vocabulary = {token: i for i, token in enumerate([*CHARACTERS, *unused])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)

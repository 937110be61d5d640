"""Language models behind an OpenAI-compatible HTTP endpoint: a hosted one, or ``vllm serve``."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import Any

from anyio.from_thread import start_blocking_portal
from httpx2 import AsyncHTTPTransport, ConnectError
from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel, Field, ValidationError

from kdgym.llm.chat import UNIX, Answer, Conversation, UnreachableError, checked_address
from kdgym.untrusted import printable, redacted, without_keys

_KEY = "OPENAI_API_KEY"
_LONGEST = 300  # characters of what an endpoint says that is no answer
_PASSING = (408, 409, 429)  # of the statuses below 500
_SPENT = "insufficient_quota"  # the code of a 429 that will not pass
_CHECK = "Check that --base-url is right, as in http://127.0.0.1:8000/v1, and that the server runs."
_ADVICE = {
    401: f"Put a valid key into the environment variable {_KEY}.",
    403: f"The key in the environment variable {_KEY} may not ask this model.",
    404: "Check --model and --base-url; the latter ends before /chat/completions, as in http://127.0.0.1:8000/v1.",
    429: "The account has no money left.",
}
_ELSEWHERE = (
    "kdgym does not follow it, as prompts would go to another address. If you trust that one, give it as --base-url."
)


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

    Requests of one call go out concurrently, but the very first goes out alone. Until one was answered, a failure that will not
    pass raises: no connection, a redirection (none is followed), another status than 408, 409, 429 and 5xx, an account without
    money, or a response that is no chat completion. Retries (dropped connections, timeouts, 408, 409, 429, 5xx), with
    exponential backoff, jitter and Retry-After, are the openai package's own. The key is cut out of all that an endpoint says
    (`kdgym.untrusted`).

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

    Raises:
        ValueError: ``concurrency`` is below 1, or ``base_url`` holds what may be secret: a user, a password, a query.
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
        self.base_url, self.model, self.concurrency = checked_address(base_url), model, concurrency
        self.timeout, self.retries, self.patience = timeout, retries, patience
        self.temperature = temperature
        self.tokens_left, self.seconds_left = token_budget, seconds_budget
        self._key = os.environ.get(_KEY, "").strip()
        self._answered = False

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """See `kdgym.llm.chat.Chat.answer`.

        Raises:
            UnreachableError: nothing was answered yet, and asking again would not help.
        """
        with start_blocking_portal() as portal:  # in another thread, as a notebook has an event loop in this one
            return portal.call(self._answer_all, conversations, schema, max_tokens)

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
            api_key=self._key or "none",  # a local server asks for no key, the client does
            timeout=self.timeout,
            max_retries=self.retries,
            http_client=DefaultAsyncHttpxClient(transport=socket, follow_redirects=False),
        ) as client:
            first, answers = int(not self._answered), []
            for part in (conversations[:first], conversations[first:]):
                requests = [{"messages": said, **options} for said in part]
                answers += await asyncio.gather(*(self._answer(client, gate, deadline, one) for one in requests))
        self.seconds_left -= time.monotonic() - start
        return answers

    async def _answer(
        self, client: AsyncOpenAI, gate: asyncio.Semaphore, deadline: float, request: dict[str, Any]
    ) -> Answer:
        async with gate:
            start = time.monotonic()
            if self.tokens_left <= 0:
                return Answer("", "the token budget is spent", attempts=0, failed=True)
            if deadline <= start:
                return Answer("", "the wall-time budget is spent", attempts=0, failed=True)
            lasting: int | None = None  # the status of a failure that will not pass; 0, where none was sent
            try:
                async with asyncio.timeout(min(deadline - start, self.patience)):
                    raw = await client.chat.completions.with_raw_response.create(**request)
                found = _read(raw.text, raw.retries_taken + 1)
                lasting = 0 if found.failed else None
            except TimeoutError:
                spent = "the wall-time budget is spent" if deadline <= time.monotonic() else "no answer"
                found = Answer("", f"{spent} after {time.monotonic() - start:.0f} s", failed=True)
            except APIStatusError as error:
                retried = error.status_code in _PASSING or error.status_code >= 500
                lasting = None if retried and error.code != _SPENT else error.status_code
                found = Answer("", _said(error), attempts=self.retries + 1 if retried else 1, failed=True)
            except APIError as error:
                lasting = 0 if isinstance(error.__cause__, ConnectError) else None
                found = Answer("", _said(error), attempts=self.retries + 1, failed=True)
        text, reason = without_keys(found.text, self._key), printable(redacted(found.error, self._key), _LONGEST)
        if found.failed:
            text = redacted(text)[:_LONGEST]
        if lasting is not None and not self._answered:
            raise UnreachableError(self._why(reason, lasting))
        self._answered |= not found.failed
        self.tokens_left -= found.prompt_tokens + found.completion_tokens
        return replace(found, text=text, error=reason, seconds=time.monotonic() - start)

    def _why(self, reason: str, status: int) -> str:
        """Why there will be no answers, and what to do."""
        advice = _ELSEWHERE if 300 <= status < 400 else _ADVICE.get(status, _CHECK)
        return f"The language model {self.model} at {self.base_url} does not answer ({reason.rstrip('.')}). {advice}"


def _said(error: APIError) -> str:
    """What went wrong, and what the endpoint says of it, in one line."""
    if isinstance(error.__cause__, ConnectError):
        return f"no connection: {error.__cause__}"
    own = error.body.get("message") if isinstance(error.body, dict) else None
    kind = f"HTTP {error.status_code}" if isinstance(error, APIStatusError) else type(error).__name__
    if isinstance(error, APIStatusError) and "location" in error.response.headers:
        return f"{kind}, a redirection to {error.response.headers['location']}"
    return f"{kind}: {' '.join(str(own or error.message).split())}"


def _read(body: str, attempts: int) -> Answer:
    """An endpoint's response, of which nothing is taken for granted."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        reason = f"the endpoint's response is no chat completion: {error.errors()[0]['msg']}"
        return Answer(body, reason, attempts=attempts, failed=True)
    choice, usage = completion.choices[0], completion.usage
    early = "" if choice.finish_reason == "stop" else f"the answer ended early ({choice.finish_reason})"
    return Answer(choice.message.content or "", early, usage.prompt_tokens, usage.completion_tokens, attempts)

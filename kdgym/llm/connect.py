"""Reach a language model by its name or its address."""

from __future__ import annotations

import re

from kdgym.llm.chat import UNIX, Chat, Tally


def reach(name: str) -> Chat:
    """The language model that a setting names: ``hf:MODEL`` in this process, or ``NAME@http://...`` at an endpoint.

    Raises:
        ValueError: there is no such way to reach a model.
    """
    model, at, url = name.partition("@")
    if not at and not name.startswith("hf:"):
        raise ValueError(f"{name!r} names no language model; give hf:MODEL, or NAME@http://... for one at an endpoint.")
    return connect(url or "transformers", model.removeprefix("hf:"))


def connect(base_url: str, model: str, **limits: float) -> Chat:
    """The language model ``model``: at an OpenAI-compatible endpoint, or in this process.

    Args:
        base_url: ``http://...``, ``https://...`` or ``http+unix://...``; ``transformers``, ``vllm``: in this process;
            ``tally``: nobody is asked (`kdgym.llm.chat.Tally`).
        model: its name there; in process a name of ``kdgym models list``, a directory, or a hub id.
        limits: of an endpoint; see `kdgym.llm.endpoint.Endpoint`.

    Raises:
        ValueError: there is no such way to reach a model, or it has no such limits.
    """
    if base_url.startswith(("http://", "https://", UNIX)):
        from kdgym.llm.endpoint import Endpoint

        return Endpoint(base_url, model, **limits)  # type: ignore[arg-type]
    if base_url == "tally":
        return Tally()
    if base_url not in ("transformers", "vllm"):
        shown = re.split("[?#]", base_url)[0].rpartition("@")[2]  # without what may be secret
        raise ValueError(f"base_url is {shown!r}; give http://..., https://..., transformers or vllm.")
    if limits:
        raise ValueError(f"A model in process has no {', '.join(limits)}; endpoints have.")
    from kdgym.llm.local import VLLM, Transformers

    return Transformers(model) if base_url == "transformers" else VLLM(model)

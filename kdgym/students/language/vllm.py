"""Students that speak through a vLLM server: many adapters in one engine, reloaded whenever they have learned.

The server has the same base model (started, for example, with ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL
--enable-lora --max-lora-rank 8``) and sees this machine's files. Every student's adapter is written in PEFT's format, loaded
under a name of its own, asked, and unloaded.
"""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from kdgym.llm.chat import checked_address
from kdgym.students.language.adapters import Adapters
from kdgym.students.language.generation import Reading
from kdgym.students.language.packing import Item
from kdgym.untrusted import redacted

_SECONDS = 600.0  # for one student's answers
_SIDE_BY_SIDE = 32  # students asked at once


class _NoRedirections(urllib.request.HTTPRedirectHandler):
    """Students' adapters and questions go to the server that was named, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """None, which makes a redirection an error."""


_OPENER = urllib.request.build_opener(_NoRedirections)


class Model(Protocol):
    """What is needed of `kdgym.students.language.students.LanguageStudents`."""

    adapted: Adapters
    answer_width: int
    options: Any
    path: str
    prompts: Any


class Server:
    """Writes with a vLLM server; see `kdgym.students.language.generation.Writer`.

    Args:
        model: the students' model.

    Raises:
        ConnectionError: there is no such server.
        ValueError: its address holds what may be secret.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._adapters, self._url = (
            model,
            model.adapted,
            checked_address(model.options.base_url).rstrip("/"),
        )
        self._request("models")

    def write(self, weights: Tensor, rows: list[list[Item]], wanted: Tensor, reading: Reading) -> Tensor:
        """See `Writer.write`."""
        said = torch.full((*wanted.shape, self._model.answer_width), self._model.prompts.end)
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            asked = [
                pool.submit(self._ask, weights[i], [row[j][0] for j in places], Path(folder) / str(i))
                if places
                else None
                for i, (row, places) in enumerate(zip(rows, _places(wanted), strict=True))
            ]
            for i, (future, places) in enumerate(zip(asked, _places(wanted), strict=True)):
                for j, answer in zip(places, future.result() if future else [], strict=True):
                    said[i, j, : len(answer)] = torch.tensor(answer[: said.shape[2]])
        return said.to(wanted.device)

    def _ask(self, weights: Tensor, prompts: list[list[int]], folder: Path) -> list[list[int]]:
        """One student's answers."""
        self._adapters.export(weights, folder, self._model.path)
        name = f"kdgym-{uuid.uuid4().hex}"
        self._request("load_lora_adapter", lora_name=name, lora_path=str(folder))
        try:
            answer = self._request(
                "completions",
                model=name,
                prompt=prompts,
                max_tokens=self._model.answer_width,
                temperature=0,
                stop_token_ids=sorted(self._model.prompts.stops),
                return_token_ids=True,
            )
        finally:
            self._request("unload_lora_adapter", lora_name=name)
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        return [list(choice["token_ids"]) for choice in choices]

    def _request(self, path: str, **body: Any) -> Any:
        """POST where there is a body, GET otherwise; the answer, read as JSON where it is JSON.

        Raises:
            ConnectionError: the server cannot be reached, or refuses.
        """
        url = f"{self._url}/{path}"
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with _OPENER.open(request, timeout=_SECONDS) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            hint = (
                " Start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora." if error.code == 404 else ""
            )
            said = redacted(error.read()[:500].decode(errors="replace"))
            raise ConnectionError(f"{url} answers {error.code}: {said!r}.{hint}") from error
        except (OSError, urllib.error.URLError) as error:
            raise ConnectionError(
                f"There is no vLLM server at {self._url} ({error}). Start one, or choose backend='transformers'."
            ) from error
        return json.loads(content) if content.startswith(b"{") else content.decode()


def _places(wanted: Tensor) -> list[list[int]]:
    """Numbers of each student's wanted items."""
    return [[j for j, one in enumerate(row) if one] for row in wanted.tolist()]

"""The study of skills without labels, as a person runs it."""

from __future__ import annotations

import sys

import pytest

from kdgym.cli.errors import run_command
from kdgym.studies import discovery
from tests.studies.command import study


@pytest.mark.slow
def test_it_says_how_well_found_skills_agree_with_labels() -> None:
    done = study(discovery, "kdgym/DataGen-VQA-v0", "--clusters", "15")
    assert "15 skills found by tfidf, 15 by label: adjusted Rand index" in done.output
    assert "choose from tfidf, minilm" in str(study(discovery, "kdgym/DataGen-VQA-v0", "--encoder", "bert").exception)


def test_a_missing_extra_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setattr(sys, "argv", ["discovery", "kdgym/DataGen-VQA-v0", "--encoder", "minilm"])
    with pytest.raises(SystemExit) as stop:
        run_command(discovery.main)
    assert stop.value.code == 2
    assert "pip install 'kdgym[discovery]'" in capsys.readouterr().err

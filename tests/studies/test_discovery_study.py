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
    assert "15 skills found, 15 by label: adjusted Rand index" in done.output


def test_a_missing_extra_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(sys, "argv", ["discovery", "kdgym/DataGen-Math-v0"])
    with pytest.raises(SystemExit) as stop:
        run_command(discovery.main)
    assert stop.value.code == 2
    assert "pip install 'kdgym[envs]'" in capsys.readouterr().err

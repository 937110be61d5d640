"""What memories are worth elsewhere is measured on the same students and tasks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from kdgym.studies import transfer
from tests.studies.command import study

pytestmark = pytest.mark.slow

ID = "kdgym/Orchestrate-Math-v0"


@pytest.mark.thorough
def test_a_memory_helps_elsewhere_and_none_changes_nothing() -> None:
    found = transfer.transfer(
        ID, "note_once", 64, first_seed=0, pool="train", advice_accuracy=1.0, verdict_accuracy=1.0
    )
    assert (found.notes > 0).mean() > 0.8
    assert (found.reward - found.reward_empty).mean() > 0.03
    silent = transfer.transfer(ID, "always_auto", 4, first_seed=0, pool="train", tasks=12)
    assert not silent.notes.any()
    assert np.array_equal(silent.reward, silent.reward_empty)


def test_other_families_have_no_notes() -> None:
    with pytest.raises(ValueError, match="kdgym/Orchestrate-"):
        transfer.transfer("kdgym/DataGen-Math-v0", "uniform", 2, pool="train")


def test_a_teacher_of_another_family_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "make_vec", None)
    assert "belongs to Snapshot" in str(study(transfer, ID, "--agents", "atlas,s3rl").exception)


@pytest.mark.thorough
def test_the_study_prints_its_table() -> None:
    done = study(transfer, ID, "--agents", "note_once", "--episodes", "4", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert "note_once" in done.output

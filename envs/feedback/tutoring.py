"""Tutoring: a pupil practises by reinforcement and may ask; a tutor answers what was asked, or stays silent.

Both can be learned. A pupil who asks about everything for nothing leaves the tutor with `kdgym.envs.feedback.feedback`'s
environment.
"""

from __future__ import annotations

from typing import Any

from kdgym.core import SingleEnv
from kdgym.envs.feedback.feedback import Feedback
from kdgym.envs.feedback.questions import TutoringSettings
from kdgym.envs.feedback.tutoring_aec import TutoringAECEnv


class Tutoring(Feedback):
    """Ask, and answer: a pupil decides which of its attempts it asks about, a tutor what it says to them.

    ## Description
    Students practise as in `kdgym.envs.feedback.feedback.Feedback`, by GRPO on groups of attempts. The pupil says, for every
    skill, about which share of a group it asks: those of its attempts that it was least sure of (mean surprise at its own
    tokens). The tutor decides as Feedback's teacher does (which attempts, what kind of feedback, how it counts), but comments
    only on what it was asked about. Here both act at once and as one. `tutoring_env` is the same for agents that take turns
    (PettingZoo); there the tutor knows what it is asked before it answers.

    ## Action Space
    `kdgym.envs.feedback.tutoring_moves.TutoringMoves`, a ``Box(-1, 1, (K + 15,), float32)``:

    | entries | whose | meaning |
    |---|---|---|
    | 0 ... K - 1 | pupil | share of a group of each skill to ask about, from nothing at -1 to everything at 1 |
    | K ... K + 14 | tutor | as in `kdgym.envs.feedback.feedback.Feedback` |

    ## Observation Space
    All of `kdgym.envs.feedback.feedback.Feedback`, and

    | key | shape | range | meaning |
    |---|---|---|---|
    | ask | (K,) | [0, 1] | what the pupil asked in the last step, as shares of its groups |
    | questions | (1,) | [0, 1] | share of the budget spent on questions so far |

    The pupil as an agent of its own does not see ``loss``, ``errors`` and ``target``; the tutor sees everything, and in ``ask``
    what it is being asked now.

    ## Rewards
    As in Feedback, minus ``question_cost`` times the share of the budget that this step's questions took. Agents of their own
    pay each for itself: the pupil for its questions, the tutor (by ``feedback_cost``) for its words.

    ## Starting State
    As in Feedback.

    ## Episode End
    ``terminated`` after ``steps`` steps (PettingZoo's ``max_cycles``). Truncated by ``max_episode_steps`` alone.

    ## Student
    As in Feedback.

    ## Budget
    As in Feedback; a question takes ``question_tokens`` of the pupil's tokens.

    ## Splits
    As in Feedback.

    ## Determinism
    As in Feedback.

    ## Headroom
    ``docs/classroom.md`` shows the tables of v0, ``docs/feedback.md`` those of v1.

    ## Arguments
    * ``question_tokens``, ``question_cost``: as above.
    * All arguments of `kdgym.envs.feedback.feedback.Feedback` but ``actions``, which are a box.

    ## Version History
    * v1: two kinds of answer are wrong, drawn three times; no held-out problem has its steps in another order in train.
    * v0: first version.
    """

    config: TutoringSettings
    family, level, arguments, asks = "Classroom", "Tutoring", TutoringSettings, True

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        if settings.get("actions", "box") != "box":
            raise ValueError(f"actions is {settings['actions']!r}; a tutor and its pupil act in a box.")
        super().__init__(num_envs, **settings)


class TutoringEnv(SingleEnv):
    __doc__ = Tutoring.__doc__
    population = Tutoring


def tutoring_env(
    task: str = "Scratchpad", *, max_cycles: int | None = None, render_mode: str | None = None, **settings: Any
) -> TutoringAECEnv:
    """A pupil and a tutor who take turns: PettingZoo's AEC interface.

    Args:
        task: what is practised: arithmetic in written steps, or, with ``student="hf:..."``, a task in words.
        max_cycles: steps of an episode; 8 if left out.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.
        settings: `Tutoring`'s others.
    """
    if max_cycles is not None:
        settings["steps"] = max_cycles
    return TutoringAECEnv(Tutoring(1, render_mode=render_mode, autoreset=False, task=task, **settings))

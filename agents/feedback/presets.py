"""Constant rules of Feedback and Tutoring: the same comment on the same share of attempts at every step, whatever happens."""

from kdgym.teaching import Fixed


class NoFeedback(Fixed):
    """Says nothing: the student practises alone, which is plain GRPO (Shao et al., DeepSeekMath, 2024). The control."""

    rule = {"fraction": 0}


class FullSolutions(Fixed):
    """Shows wrong attempts the whole solution, to be learned like the student's own tokens: supervised learning on its
    mistakes.

    Half of each group at most: a group in which everybody is right after feedback has no advantage, and teaches nothing.
    """

    rule = {"fraction": 0.5, "which": "wrong", "kind": "full_solution", "shaping": "plain", "weight": 1}


class Thinktuning(Fixed):
    """ThinkTuning's rule: a fixed fraction of the rollouts gets feedback, whatever the student does (RRV et al., EMNLP 2025).

    The paper's teacher points to the mistake and then shows the solution; fraction and shaping formula are not public. Here: a
    quarter of each group, wrong attempts only, the right steps from the first wrong one on, advantage-aware shaping.
    """

    rule = {
        "fraction": 0.25,
        "length": 1,
        "which": "wrong",
        "kind": "next_step",
        "shaping": "advantage_aware",
        "weight": 1,
    }


class ThinktuningMask(Fixed):
    """ThinkTuning's fixed fraction with another shaping of the feedback tokens, ``mask``: they are read and not learned
    from."""

    rule = {"fraction": 0.25, "length": 1, "which": "wrong", "kind": "next_step", "shaping": "mask", "weight": 1}


class ThinktuningPlain(Fixed):
    """ThinkTuning's fixed fraction with another shaping of the feedback tokens, ``plain``: they count like the student's
    own."""

    rule = {"fraction": 0.25, "length": 1, "which": "wrong", "kind": "next_step", "shaping": "plain", "weight": 1}


class ThinktuningRatio(Fixed):
    """ThinkTuning's fixed fraction with another shaping of the feedback tokens, ``ratio``:
    LUFFY's pi / (pi + 0.1) for right and wrong alike.
    """

    rule = {"fraction": 0.25, "length": 1, "which": "wrong", "kind": "next_step", "shaping": "ratio", "weight": 1}


class Luffy(Fixed):
    """One solution from elsewhere in every group, whatever the student wrote, with the shaping pi / (pi + 0.1): LUFFY's
    mixed-policy GRPO (Yan et al., "Learning to reason under off-policy guidance", 2025). Looks at nothing.
    """

    rule = {"fraction": 0.125, "which": "random", "kind": "full_solution", "shaping": "ratio", "weight": 1}


class CritiqueGrpo(Fixed):
    """One attempt of every group is criticised and tried again, as in Critique-GRPO (Zhang et al., "Advancing LLM reasoning
    with natural language and numerical feedback", 2025): seven attempts and one refinement. Looks at nothing.

    The critique, the first kind of feedback there is, points at a mistake without correcting it, and is not learned from. The
    student learns from what it writes next, in the place where it reads the critique and with the clipped ratio; in the paper
    as an answer to the bare problem, and with pi / (pi + 0.1), which here is for a teacher's tokens alone.
    """

    rule = {"fraction": 0.125, "which": "wrong", "kind": 0, "length": 1, "shaping": "mask"}


class LearnToReason(Fixed):
    """A correction for each mistake, to be learned like the student's own words, in contrast to the mistakes beside it:
    tailored learning (Wang et al., "Democratizing reasoning ability", EMNLP 2023). Looks at nothing.

    In the paper every wrong answer is corrected, and the contrast with mistakes is a margin between hidden states, which no
    action expresses. Here half of each group is corrected, and the contrast is that mistakes left in it have a negative
    advantage.
    """

    rule = {"fraction": 0.5, "length": 1, "which": "wrong", "kind": "next_step", "shaping": "plain", "weight": 1}


class NeverAsk(Fixed):
    """A pupil who never asks: plain GRPO (Shao et al., DeepSeekMath, 2024). The control of tutoring."""

    rule = {"ask": 0}


class AlwaysAsk(Fixed):
    """A pupil who asks about everything, and a tutor with ThinkTuning's rule: wrong attempts up to a quarter of each group.

    After RRV et al. (EMNLP 2025), where nobody asks and nobody pays for asking; the feedback counts like the pupil's own tokens
    (`ThinktuningPlain`).
    """

    rule = {
        "ask": 1,
        "fraction": 0.25,
        "length": 1,
        "weight": 1,
        "which": "wrong",
        "kind": "next_step",
        "shaping": "plain",
    }

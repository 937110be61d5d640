"""DataGen: the teacher splits a data budget over skills and over data engines of unknown quality.

After DataEnvGym (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025), whose teacher decides which training data a student gets
next; here with spaces, a reward, an enforced budget and a population of students.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdgym.core import SingleEnv
from kdgym.core.course import Course, CourseEnv
from kdgym.core.population import Array, common_arguments
from kdgym.envs.datagen.data_engines import Market, MarketSettings
from kdgym.spaces import Shares


class SkillList(CourseEnv):
    """Teach by buying training data, skill by skill: the Skill-List level.

    ## Description
    Each student is a small transformer that can do a little of everything: of arithmetic (``DataGen-Math``), of short
    programs (``DataGen-Code``), of questions about pictures of real handwritten digits (``DataGen-VQA``), or of datasets of
    reasoning-gym (``DataGen-Reasoning``). An episode asks for one to three *target* skills. Every skill has several data
    engines (*sources*): some make clean items, some mostly wrong answers, some the same eight problems again and again.
    Which is which is hidden and drawn anew every episode; prices are visible and say nothing about quality. At each step
    the teacher splits the step's money over all skill x source pairs; the student trains once on what was bought, in random
    order, by AdamW, and sits an examination.

    ## Action Space
    `kdgym.spaces.Shares`, a ``Box(-1, 1, (K * M,), float32)`` for K skills and M sources a skill, skill-major. Shares of the
    money are ``softmax(4 * action)``. Entry ``k * M + m`` is source m of skill k. The action 0 is the uniform split.

    ## Observation Space
    A ``Dict`` of float32 boxes:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (K,) | [0, 1] | exact match on the episode's validation items |
    | loss | (K,) | [0, 10] | validation loss, nats an answer token |
    | change | (K,) | [-1, 1] | accuracy minus accuracy one step ago |
    | target | (K,) | [0, 1] | how much each skill counts; sums to 1 |
    | price | (K * M,) | [1, 2] | money an item of each source costs |
    | source_loss | (K * M,) | [0, 10] | training loss of the items last bought there, just before they were learned |
    | source_loss_mean | (K * M,) | [0, 10] | the same, averaged over all items bought there so far |
    | source_spend | (K * M,) | [0, 1] | share of the whole budget spent there so far |
    | budget | (1,) | [0, 1] | share of the money left |
    | time | (1,) | [0, 1] | share of the steps left |

    Where nothing was bought yet, both source losses show the skill's validation loss at the start.

    ## Rewards
    Change of the target-weighted validation accuracy in this step (``reward="accuracy"``), or of minus the target-weighted
    validation loss (``reward="log_loss"``, much less noisy). Rewards of an episode sum to what the student learned.

    ## Starting State
    A base student drawn from the pool (128 short random mixtures of pretraining, see `kdgym.students.base_students.pool`),
    fresh optimiser. One to ``max_targets`` target skills with random weights. ``reset(options={"restart": "continue"})``
    keeps the student's weights and draws everything else anew.

    ## Episode End
    ``terminated`` after ``steps`` steps, when the last allowance is spent. Truncated by ``max_episode_steps`` alone.

    ## Student
    A decoder-only transformer (one block, width 32, 12 thousand parameters) and AdamW, batches of 16, each item once. Images
    come first in its sequence, as patches under a linear embedding. With ``student="hf:..."`` a language model instead, whose
    population are LoRA adapters over one frozen base (`kdgym.students.language.students`): every student begins as the base
    model, observations and actions are the same, and a shorter course is the default (6 steps of 96 items, 4 validation items).

    ## Budget
    ``budget`` units of money an episode. A step's allowance is the money left divided by the steps left; a source's items
    are ``floor(share * allowance / price)``, and at most ``budget / steps`` items fit into a lesson. What rounding leaves
    over stays in the account. More cannot be spent.

    ## Splits
    Items come from ``train``, rewards and observations from ``validation``, `examine` asks ``test``. The splits share no pair
    of operands (Math), no program (Code), no handwriting (VQA) and no problem, in whatever order (Reasoning-v1), in any skill.

    ## Determinism
    Equal settings, seeds and actions give bitwise equal observations on one machine. With the compiled engine (see ``engine``)
    they depend neither on the number of threads nor on the other students of the population; with torch operations the same
    holds at one thread. Language models agree to rounding in populations of different sizes, and on a GPU.

    ## Headroom
    ``kdgym headroom ID`` prints it; ``docs/datagen.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task``: what is taught, a name of `kdgym.tasks.TASKS`, or ``"dataset:PATH"`` (``docs/own-data.md``); ``task_options``:
      its arguments, e.g. ``{"radix": 10}``. They may stand beside the other settings instead: ``radix=10``,
      ``datasets=["gcd", "lcm"]``.
    * ``skills``: None for the task's own, ``"discovered"`` for clusters of its validation problems, found without labels
      (`kdgym.tasks.views.discovery`), ``"discovered:12"`` for twelve of them; the same students, problems and splits.
    * ``student``: ``"transformer"``, or ``"hf:"`` and a model: a directory, one prepared by ``kdgym models add``, or a hub id.
    * ``student_options``: sizes and optimiser, see `kdgym.students.TransformerConfig`, and of language models
      `kdgym.students.language.options.LanguageOptions`; ``dtype``: the type of language models.
    * ``pool``: base students, ``"train"`` or ``"evaluation"``; no student is in both.
    * ``steps``, ``budget``: length of an episode, and its money (an item costs 1 to 2).
    * ``sources``: data engines a skill.
    * ``max_targets``: most target skills of an episode; if left out, 3, or all skills of a task that has fewer.
    * ``validation_items``, ``test_items``: items a skill of the validation, and most of an examination.
    * ``test_draw``: other numbers draw other test items for `examine`.
    * ``misconceptions``: how many wrong rules every base student has been pretrained in, drawn from the task's (``task.
      misconceptions``), or the names of those that all have. Who has which is state, and never observation or info;
      `examine_misconceptions` tells whoever scores a teacher.
    * ``placebo``: destroy the content of every item: what is learned then is form alone (`kdgym.tasks.views.placebo`).
    * ``reward``: ``"accuracy"`` or ``"log_loss"``.
    * ``device``: torch device of the whole population.
    * ``engine``: ``"torch"``, ``"kernel"`` (compiled, CPU only) or ``"auto"``; see `kdgym.students.TransformerStudents`.
    * ``render_mode``: ``None``, ``"rgb_array"`` or ``"human"``.
    * ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v1 (reasoning-gym only): no held-out problem has a twin in train.
    * v0: first version. That of reasoning-gym is closed: held-out problems have commuted and reordered twins in train.
    """

    course: Course[MarketSettings]
    family, level = "DataGen", "SkillList"
    items = ("price", "target")

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        course = Course(MarketSettings.parse(settings))
        market = Market(course)
        shares = Shares(market.sources.total)
        self._market, self._temperature = market, shares.temperature
        super().__init__(course, num_envs, market.observation_space, shares, market.layout, **common)

    def _limits(self) -> dict[str, tuple[float, float]]:
        return {**super()._limits(), **self._market.limits}

    def _begin(self, rows: Tensor, restart: str) -> None:
        if restart == "base":
            self.course.draw_base(self.state, rows)
        self.course.begin(self.state, rows, self.course.draw_targets(self.state, rows))
        self._market.begin(self.state, rows)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        self._market.teach(self.state, torch.softmax(self._temperature * action.double(), dim=1))
        return self.course.validate(self.state)

    def _observe(self) -> dict[str, Tensor]:
        return self.course.observe(self.state) | self._market.observe(self.state)

    def hidden(self) -> dict[str, Array]:
        """See `Market.hidden`: for upper bounds only."""
        return self._market.hidden(self.state)


class SkillListEnv(SingleEnv):
    __doc__ = SkillList.__doc__
    population = SkillList

"""Every environment in one table. Registering is data: nothing heavy is imported until an environment is made."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdgym.plugins import Registry
from kdgym.post_import import after_import
from kdgym.suggestions import closest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ID_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*/[A-Za-z0-9]+(-[A-Za-z0-9]+)*-v\d+$"


@dataclass(frozen=True)
class Entry:
    """One environment id.

    Attributes:
        id: ``kdgym/<Family>-<Task>[-<Level>]-v<N>``; of another package, with its own name in place of ``kdgym``.
        module: where the population is defined: ``kdgym.envs.<family>.<page>``, or a module of another package.
        population: class of the population in that module; the single view beside it is called ``<population>Env``.
        summary: one line for ``kdgym list``.
        controls: teachers that spend the budget without intelligence; differences are taken to the first.
        published: the agent that follows the published rule this family is measured against.
        teachers: other agents worth a comparison.
        upper_bounds: agents that see or do more than a teacher may.
        group: name of the ids whose observations and actions have the same form, so that their teachers are interchangeable.
        trained: teachers that fit and have to be trained first.
        asking: teachers that fit and ask a language model.
        others: what else fits: variants and studies, and controls of other groups that read nothing.
        measure: what the score is.
        score_range: lowest and highest score there can be; records with others are refused.
        episodes: student seeds of its leaderboard.
        settings: keyword arguments that make this id what it is.
        slow: its first environment takes minutes to make, and its students learn one after the other.
        small: settings that make an episode short, to try something out.
        placebo: it has a setting ``placebo``, which destroys the content of training items (`kdgym.tasks.views.placebo`).
        tradeoff: what its teachers weigh: two quantities of `PopulationEnv.outcome`, the wanted one first, and what each is.
        closed: why scores of it no longer count, in a sentence; empty where they do.
        instead: the id to use in place of a closed one; its next version, if left out.
    """

    id: str
    module: str
    population: str
    summary: str
    controls: tuple[str, ...]
    published: str
    teachers: tuple[str, ...]
    upper_bounds: tuple[str, ...]
    group: str
    trained: tuple[str, ...] = ()
    asking: tuple[str, ...] = ("llm",)
    others: tuple[str, ...] = ()
    measure: str = "test accuracy on the targets"
    score_range: tuple[float, float] = (0.0, 1.0)
    episodes: int = 64
    settings: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    small: dict[str, Any] = field(default_factory=dict)
    placebo: bool = False
    tradeoff: dict[str, str] = field(default_factory=dict)
    closed: str = ""
    instead: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(ID_PATTERN, self.id):
            raise ValueError(f"The id is {self.id!r}; give PACKAGE/NAME-vN, for example 'mine/Sorting-Easy-v0'.")

    @property
    def family(self) -> str:
        """The folder of `kdgym.envs`; of another package, its name."""
        return self.module.removeprefix("kdgym.envs.").partition(".")[0]

    @property
    def newer(self) -> str:
        """The id to use in place of a closed one."""
        stem, _, version = self.id.rpartition("-v")
        return self.instead or f"{stem}-v{int(version) + 1}"

    @property
    def notice(self) -> str:
        """That it is closed, why, and what to use; empty where it is not."""
        return self.closed and f"Closed: {self.closed} Use {self.newer}."

    @property
    def needs_model(self) -> bool:
        """Whether the students are language models, which have to be prepared: ``kdgym models add``."""
        return str(self.settings.get("student", "")).startswith("hf:")


_ANY_NUMBERS = ("random", "uniform")  # any numbers in [-1, 1], and zeros: they fit wherever actions are numbers
_SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}

_SKILL_LIST: dict[str, Any] = {
    "group": "DataGen Skill-List",
    "small": _SMALL,
    "placebo": True,
    "module": "kdgym.envs.datagen.skill_list",
    "population": "SkillList",
    "controls": ("uniform", "random"),
    "published": "stat",
    "teachers": (
        "stat_errors",
        "stat_no_state",
        "stat_random",
        "weakest_skill",
        "learning_progress",
        "target_proportional",
        "adaptive_source",
    ),
    "upper_bounds": ("informed", "lookahead"),
    "trained": ("ppo", "learned"),
    "others": ("constant", "informed_cure"),
}
_NO_ROOM = "the best rule stands at the upper bound, so that nothing is left for a better teacher."
_OPEN_ENDED: dict[str, Any] = {
    "group": "DataGen Open-Ended",
    "small": _SMALL,
    "placebo": True,
    "module": "kdgym.envs.datagen.open_ended",
    "population": "OpenEnded",
    "controls": ("random_real",),
    "published": "llm2llm",
    "teachers": ("copy_errors", "open_ended", "arte"),
    "upper_bounds": ("informed_writer",),
    "asking": ("llm", "llm_arte", "llm_corrections", "llm_engine", "llm_variants", "ssb"),
    "others": ("diagnose_errors",),
}
_ENGINES: dict[str, Any] = {"engines": 5}  # what stands in a writer's way is whom to trust
_OF_ENGINES: dict[str, Any] = {
    **_OPEN_ENDED,
    "teachers": (*_OPEN_ENDED["teachers"], "copy_and_order", "try_engines", "vet_engines"),
}
_SKILL_TREE: dict[str, Any] = {
    "group": "DataGen Skill-Tree",
    "small": _SMALL,
    "placebo": True,
    "module": "kdgym.envs.datagen.skill_tree",
    "population": "SkillTree",
    "controls": ("tree_uniform", "tree_random"),
    "published": "alternating",
    "teachers": ("fill_balanced", "threshold", "tree_constant", "tree_target"),
    "upper_bounds": ("tree_lookahead",),
    "trained": ("ppo", "maskable_ppo", "learned"),
    "others": _ANY_NUMBERS,
}
_FAULTY_TREE: dict[str, Any] = {
    **_SKILL_TREE,
    "teachers": (*_SKILL_TREE["teachers"], "tree_trust"),
    "upper_bounds": ("informed_tree", "tree_lookahead"),
}
_REASONING: dict[str, Any] = {"settings": {"task": "Reasoning", "version": 1}}
_TWINS: dict[str, Any] = {
    "settings": {"task": "Reasoning"},
    "closed": "most held-out products, greatest common divisors and filtered lists have a commuted or reordered twin in train.",
}
_REORDERED: dict[str, Any] = {
    "closed": "half of the held-out problems of several steps have a reordered twin in train."
}
_FEEDBACK: dict[str, Any] = {
    "group": "Feedback",
    "small": _SMALL,
    "module": "kdgym.envs.feedback.feedback",
    "population": "Feedback",
    "controls": ("no_feedback",),
    "published": "thinktuning",
    "teachers": (
        "thinktuning_mask",
        "thinktuning_plain",
        "thinktuning_ratio",
        "full_solutions",
        "luffy",
        "critique_grpo",
        "learn_to_reason",
        "kdrl",
        "adaptive_hint",
        "feedback_bandit",
    ),
    "upper_bounds": ("feedback_lookahead",),
    "trained": ("feedback_ppo", "learned"),
    "asking": ("llm", "llm_feedback"),
    "others": _ANY_NUMBERS,
}
# Two of the three kinds that show a solution are wrong, and which they are is drawn three times an episode.
_UNRELIABLE: dict[str, Any] = {"settings": {"task": "Scratchpad", "version": 1, "faulty": 2, "shifts": 3}}
_SNAPSHOT: dict[str, Any] = {
    "group": "Snapshot",
    "small": {"steps": 3, "updates": 2, "validation_starts": 4, "test_starts": 8},
    "module": "kdgym.envs.snapshot.snapshot",
    "population": "Snapshot",
    "controls": ("ordinary_resets", "uniform_snapshots", "random"),
    "published": "s3rl",
    "teachers": (
        "sc_only",
        "stt_only",
        "reverse_curriculum",
        "learning_progress",
        "plr",
    ),
    "upper_bounds": ("snapshot_lookahead",),
    "trained": ("start_ppo", "learned"),
    "others": ("s3rl_long", "start_search", "uniform"),
    "measure": "scaled return from ordinary starts",
}

_ORCHESTRATE: dict[str, Any] = {
    "group": "Orchestrate",
    "tradeoff": {
        "success": "share of tasks done",
        "money": "money of a task, in units of what a success is worth",
    },
    "controls": ("always_auto", "always_paired", "always_coach", "always_stepwise"),
    "published": "atlas",
    "teachers": ("uncertainty_lane", "linucb", "note_once"),
    "upper_bounds": ("lane_oracle",),
    "trained": ("lane_ppo", "lane_search", "lane_advantage", "learned"),
    "others": _ANY_NUMBERS,
    "measure": "mean reward of a task",
    "score_range": (-2.0, 1.0),  # the budget is worth less than a success a task; the last stage may go over it
}

_TUTORING: dict[str, Any] = {
    "group": "Tutoring",
    "small": _SMALL,
    "module": "kdgym.envs.feedback.tutoring",
    "population": "Tutoring",
    "controls": ("never_ask",),
    "published": "always_ask",
    "teachers": ("ask_unsure",),
    "upper_bounds": ("tutoring_lookahead",),
    "trained": ("learned",),
    "others": _ANY_NUMBERS,
}
_CLASSROOM: dict[str, Any] = {
    "group": "Classroom",
    "small": _SMALL,
    "module": "kdgym.envs.classroom.classroom",
    "population": "Classroom",
    "controls": ("bid_uniform",),
    "published": "bid_proportional",
    "teachers": ("bid_target", "tit_for_tat"),
    "upper_bounds": ("bid_planner",),
    "trained": ("bid_ppo", "learned"),
    "others": _ANY_NUMBERS,
    "measure": "test accuracy on all teachers' goals",
}
_STUDY: dict[str, Any] = {"small": {"steps": 3, "updates": 4, "test_items": 200}, "measure": "test accuracy"}
_DISTILL: dict[str, Any] = {
    "group": "Distill",
    **_STUDY,
    "module": "kdgym.envs.distill.distill",
    "population": "Distill",
    "controls": ("hard_labels", "random"),
    "published": "plain_kd",
    "teachers": (
        "probing_teacher",
        "agreeing_teacher",
        "reverse_kd",
        "bd_kd",
        "ofa_kd",
        "mcmi",
        "lelp",
        "lad",
        "med_det",
        "uni_distill",
        "scale_kd",
        "trans_kd",
    ),
    "upper_bounds": ("informed_teacher",),
    "trained": ("recipe_search", "recipe_ppo", "learned"),
    "others": (
        "bd_kd_even",
        "ofa_kd_no_boost",
        "mcmi_zero",
        "lelp_none",
        "lad_blind",
        "med_det_no_critic",
        "uni_distill_response",
        "scale_kd_no_head",
        "trans_kd_logits",
        "uniform",
    ),
}
_SELECT: dict[str, Any] = {
    "group": "Select",
    **_STUDY,
    "module": "kdgym.envs.select.select",
    "population": "Select",
    "controls": ("keep_all", "random"),
    "published": "mini_plm",
    "teachers": (
        "probing_scorer",
        "trying_scorer",
        "agreeing_scorer",
        "kd3",
        "impossible_distillation",
        "stat_select",
        "easy_first",
        "hard_first",
    ),
    "upper_bounds": ("informed_scorer", "select_lookahead"),
    "trained": ("select_search", "select_ppo", "learned"),
    "others": ("peer_scorer", "mini_plm_teacher", "kd3_scorer", "impossible_unfiltered", "uniform"),
}
_LABEL: dict[str, Any] = {
    "group": "Label",
    **_STUDY,
    "module": "kdgym.envs.label.label",
    "population": "Label",
    "controls": ("supervised_only", "random"),
    "published": "queaco",
    "teachers": (
        "probing_source",
        "bought_source",
        "aligned",
        "fixed_threshold",
        "consistent_teacher",
        "hssda",
        "spl",
        "annotate_random",
        "annotate_unsure",
    ),
    "upper_bounds": ("informed_source", "label_lookahead"),
    "trained": ("label_search", "label_ppo", "learned"),
    "others": (
        "queaco_no_feedback",
        "spl_merged",
        "hssda_one_threshold",
        "hssda_one_view",
        "believe_all",
        "majority_vote",
        "uniform",
    ),
}

ENVIRONMENTS = (
    Entry(
        "kdgym/DataGen-Math-v0",
        summary="Split a data budget over 14 arithmetic skills and data engines of hidden quality.",
        settings={"task": "Math"},
        **{**_SKILL_LIST, "teachers": (*_SKILL_LIST["teachers"], "constant")},
    ),
    Entry(
        "kdgym/DataGen-Code-v0",
        summary="The same over 14 kinds of short Python programs, which are run to be judged.",
        settings={"task": "Code"},
        **_SKILL_LIST,
    ),
    Entry(
        "kdgym/DataGen-VQA-v0",
        summary="The same over 15 kinds of questions about pictures of handwritten digits.",
        settings={"task": "VQA"},
        **_SKILL_LIST,
    ),
    Entry(
        "kdgym/DataGen-Reasoning-v0",
        summary="The same over reasoning-gym's datasets: twelve small ones, or any you name (datasets=[...]).",
        **_TWINS,
        **{**_SKILL_LIST, "teachers": ("learning_progress", "target_proportional", "adaptive_source")},
    ),
    Entry(
        "kdgym/DataGen-Reasoning-v1",
        summary="The same over reasoning-gym's datasets: twelve small ones, or any you name (datasets=[...]).",
        **_REASONING,
        **{**_SKILL_LIST, "teachers": ("learning_progress", "target_proportional", "adaptive_source")},
    ),
    Entry(
        "kdgym/DataGen-Math-OpenEnded-v0",
        summary="Write the training items yourself, as JSON, after reading the student's errors in arithmetic.",
        settings={"task": "Math"},
        closed=_NO_ROOM,
        **_OPEN_ENDED,
    ),
    Entry(
        "kdgym/DataGen-Math-OpenEnded-v1",
        summary="Write training items for a student's errors in arithmetic, and find out which engines to order from.",
        settings={"task": "Math", **_ENGINES},
        **_OF_ENGINES,
    ),
    Entry(
        "kdgym/DataGen-Code-OpenEnded-v0",
        summary="The same for short Python programs.",
        settings={"task": "Code"},
        **_OPEN_ENDED,
    ),
    Entry(
        "kdgym/DataGen-VQA-OpenEnded-v0",
        summary="The same for questions about pictures, which the teacher describes and the environment draws.",
        settings={"task": "VQA"},
        closed=_NO_ROOM,
        **_OPEN_ENDED,
    ),
    Entry(
        "kdgym/DataGen-VQA-OpenEnded-v1",
        summary="Write items about pictures, which the environment draws, and find out which engines to order from.",
        settings={"task": "VQA", **_ENGINES},
        **_OF_ENGINES,
    ),
    Entry(
        "kdgym/DataGen-Reasoning-OpenEnded-v0",
        summary="The same for reasoning-gym's datasets.",
        **_TWINS,
        **_OPEN_ENDED,
    ),
    Entry(
        "kdgym/DataGen-Reasoning-OpenEnded-v1",
        summary="Write items for reasoning-gym's datasets, and find out which engines to order from.",
        settings={**_REASONING["settings"], **_ENGINES},
        **_OF_ENGINES,
    ),
    Entry(
        "kdgym/DataGen-Math-SkillTree-v0",
        summary="Explore subskills of arithmetic, and decide how much practice each gets.",
        settings={"task": "Math"},
        **_SKILL_TREE,
    ),
    Entry(
        "kdgym/DataGen-Code-SkillTree-v0",
        summary="The same over kinds of short Python programs.",
        settings={"task": "Code"},
        closed="the best rule was nearly as good as the upper bound.",
        **_SKILL_TREE,
    ),
    Entry(
        "kdgym/DataGen-Code-SkillTree-v1",
        summary="The same over kinds of short Python programs, with five of eight subskills taught wrongly.",
        settings={"task": "Code", "faulty": 0.625},
        **_FAULTY_TREE,
    ),
    Entry(
        "kdgym/DataGen-VQA-SkillTree-v0",
        summary="The same over kinds of questions about pictures.",
        settings={"task": "VQA"},
        **_SKILL_TREE,
    ),
    Entry(
        "kdgym/DataGen-Reasoning-SkillTree-v0",
        summary="The same over reasoning-gym's datasets, whose attributes of difficulty make the subskills.",
        **_TWINS,
        **_SKILL_TREE,
    ),
    Entry(
        "kdgym/DataGen-Reasoning-SkillTree-v1",
        summary="The same over reasoning-gym's datasets, whose attributes of difficulty make the subskills.",
        settings={"task": "Reasoning", "version": 1, "faulty": 0.625},
        **_FAULTY_TREE,
    ),
    Entry(
        "kdgym/Feedback-Math-v0",
        summary="Comment on some of a student's attempts while it practises arithmetic in steps by GRPO.",
        **_REORDERED,
        **_FEEDBACK,
    ),
    Entry(
        "kdgym/Feedback-Math-v1",
        summary="Comment on some of a student's attempts at arithmetic in steps, by kinds of feedback of which few are right.",
        **_UNRELIABLE,
        **{
            **_FEEDBACK,
            "teachers": (*_FEEDBACK["teachers"], "follow_success"),
            "upper_bounds": ("informed_feedback",),
            "asking": ("llm",),  # comments in words read no kinds of feedback that are wrong
        },
    ),
    Entry(
        "kdgym/Feedback-CHAMP-v0",
        summary="The same for language models at competition problems, with hints and concepts that people wrote.",
        settings={"task": "CHAMP", "student": "hf:smollm2"},
        **_FEEDBACK,
    ),
    Entry(
        "kdgym/Orchestrate-Math-v0",
        module="kdgym.envs.orchestrate.math",
        population="OrchestrateMath",
        small={"tasks": 3},
        summary="Choose how closely frozen students are supervised, task by task, and what they remember.",
        **_REORDERED,
        **_ORCHESTRATE,
    ),
    Entry(
        "kdgym/Orchestrate-Math-v1",
        module="kdgym.envs.orchestrate.math",
        population="OrchestrateMath",
        small={"tasks": 3},
        summary="Choose how closely frozen students are supervised, task by task, and what they remember.",
        settings={"version": 1},
        **_ORCHESTRATE,
    ),
    Entry(
        "kdgym/Orchestrate-Incidents-v0",
        module="kdgym.envs.orchestrate.incidents",
        population="OrchestrateIncidents",
        small={"tasks": 3, "incidents": 2},
        summary="The same for small investigators who query the logs of a security incident, by SQL.",
        **_ORCHESTRATE,
    ),
    Entry(
        "kdgym/Classroom-Math-v0",
        summary="Three teachers bid for one student's time; by PettingZoo each is an agent, here one planner is all of them.",
        settings={"task": "Math"},
        closed="the best rule was nearly as good as the upper bound.",
        **_CLASSROOM,
    ),
    Entry(
        "kdgym/Classroom-Math-v1",
        summary="The same with four data engines of hidden quality a skill, one of which is good.",
        settings={"task": "Math", "sources": 4},
        **{**_CLASSROOM, "teachers": (*_CLASSROOM["teachers"], "bid_trust")},
    ),
    Entry(
        "kdgym/Tutoring-Math-v0",
        summary="A pupil decides what it asks about, its tutor how to answer; by PettingZoo they take turns, here not.",
        **_REORDERED,
        **_TUTORING,
    ),
    Entry(
        "kdgym/Tutoring-Math-v1",
        summary="The same where few kinds of answer are right; by PettingZoo pupil and tutor take turns, here not.",
        **_UNRELIABLE,
        **{
            **_TUTORING,
            "teachers": (*_TUTORING["teachers"], "ask_trusted"),
            "upper_bounds": ("informed_tutor",),
        },
    ),
    Entry(
        "kdgym/Distill-Images-v0",
        summary="Choose what a student of images imitates, and which of five teachers of hidden quality it trusts.",
        **_DISTILL,
    ),
    Entry(
        "kdgym/Label-Weak-v0",
        summary="Choose whose labels of a pool a student believes: its own, five weak sources', or an expert's.",
        **_LABEL,
    ),
    Entry(
        "kdgym/Select-Images-v0",
        summary="Choose which items of a pool a student trains on, by the scores of six models of whom few are right.",
        **_SELECT,
    ),
    Entry(
        "kdgym/Snapshot-CartPole-v0",
        summary="Choose from which of a teacher's states a population of RL students balances a pole.",
        settings={"task": "CartPole", "updates": 2, "budget": 12 * 2 * 8 * 64.0},  # with 8 updates everybody solves it
        closed="rules cannot react, as episodes outlast a step, and the upper bound led by chance. It stays a setting, "
        "task='CartPole'.",
        instead="kdgym/Snapshot-MountainCar-v0",
        **_SNAPSHOT,
    ),
    Entry(
        "kdgym/Snapshot-MountainCar-v0",
        summary="Choose from which of a teacher's states RL students learn to rock a car out of a valley; only arriving pays.",
        settings={"task": "MountainCar"},
        **_SNAPSHOT,
    ),
    Entry(
        "kdgym/Snapshot-Acrobot-v0",
        summary="The same where two links have to swing up, and only arriving pays.",
        settings={"task": "Acrobot"},
        closed="three rules stood at the upper bound. It stays a setting, task='Acrobot'.",
        instead="kdgym/Snapshot-MountainCar-v0",
        **_SNAPSHOT,
    ),
    Entry(
        "kdgym/Snapshot-Pendulum-v0",
        summary="The same for a pendulum's swing-up, paid at every step.",
        settings={"task": "Pendulum"},
        closed="no rule is above ordinary resets, and the upper bound led by chance. It stays a setting, task='Pendulum'.",
        instead="kdgym/Snapshot-PointMaze-v0",
        **_SNAPSHOT,
    ),
    Entry(
        "kdgym/Snapshot-PointMaze-v0",
        summary="The same for a ball in a maze with three corridors, and only arriving pays.",
        settings={"task": "PointMaze"},
        **_SNAPSHOT,
    ),
    Entry(
        "kdgym/Snapshot-Hopper-v0",
        summary="The same for MuJoCo's one-legged robot, with Stable-Baselines3's PPO as the student; slow.",
        episodes=8,
        slow=True,
        settings={
            "task": "Hopper",
            "rollout": 256,
            "updates": 2,
            "budget": 12 * 2 * 8 * 256.0,
            "hidden": 64,
            "epochs": 10,
            "minibatches": 8,
            "entropy": 0.0,
            "validation_starts": 4,
            "test_starts": 16,
        },
        **_SNAPSHOT,
    ),
)


# The same ids for agents of their own, in PettingZoo's registries: interface, id, what makes it.
MULTI_AGENT = (
    ("parallel", "kdgym/Classroom-Math-v0", "kdgym.envs.classroom.classroom:parallel_env"),
    ("aec", "kdgym/Classroom-Math-v0", "kdgym.envs.classroom.classroom:env"),
    ("parallel", "kdgym/Classroom-Math-v1", "kdgym.envs.classroom.classroom:parallel_env"),
    ("aec", "kdgym/Classroom-Math-v1", "kdgym.envs.classroom.classroom:env"),
    ("aec", "kdgym/Tutoring-Math-v0", "kdgym.envs.feedback.tutoring:tutoring_env"),
    ("aec", "kdgym/Tutoring-Math-v1", "kdgym.envs.feedback.tutoring:tutoring_env"),
)

# What a family adds to the command line: name of the command -> module with a Typer ``app``, which imports nothing slow.
COMMANDS = {"snapshots": "kdgym.envs.snapshot.commands"}


def register_all() -> None:
    """Enter the tables into the registries of Gymnasium and PettingZoo: now, or as soon as these are imported.

    ``import kdgym`` imports neither, since they are most of what a command costs that only lists or explains.
    """
    after_import("gymnasium", _register_populations)
    after_import("pettingzoo", _register_multi_agent)


def _register_populations() -> None:
    import gymnasium as gym

    for entry in (*ENVIRONMENTS, *TABLE.added.values()):
        _enter(entry)
    for id in TABLE.installed.keys() - TABLE.added:  # what they name is imported when an environment is made
        gym.register(id, MAKE_ONE, vector_entry_point=MAKE_MANY, kwargs={"entry_id": id})


def _enter(entry: Entry) -> None:
    import gymnasium as gym

    if entry.closed:
        gym.register(entry.id, MAKE_ONE, vector_entry_point=MAKE_MANY, kwargs={"entry_id": entry.id, **entry.settings})
    else:
        named = f"{entry.module}:{entry.population}"
        gym.register(entry.id, f"{named}Env", vector_entry_point=named, kwargs=entry.settings)


# Of ids whose class is not named at once, since they warn or are not imported yet. As text, since a spec of Gymnasium with a
# function in it cannot be written to JSON, and then neither can a Minari data set.
MAKE_ONE, MAKE_MANY = "kdgym.registration:make_one", "kdgym.registration:make_many"


def make_one(entry_id: str, **settings: Any) -> Any:
    """The single view of an id of the table, with a warning if the id is closed."""
    return _population(entry_id, "Env")(**{**find(entry_id).settings, **settings})


def make_many(entry_id: str, **settings: Any) -> Any:
    """The population of an id of the table, with a warning if the id is closed."""
    return _population(entry_id)(**{**find(entry_id).settings, **settings})


def _population(id: str, view: str = "") -> Any:
    entry = find(id)
    if entry.closed:
        warnings.warn(f"{id}. {entry.notice}", DeprecationWarning, stacklevel=4)
    return getattr(import_module(entry.module), entry.population + view)


def _register_multi_agent() -> None:
    import pettingzoo

    for interface, id, creator in MULTI_AGENT:
        pettingzoo.register(interface, id, entry_point=creator, kwargs=find(id).settings)


def _read(point: EntryPoint) -> Entry:
    entry = point.load()
    if not isinstance(entry, Entry) or entry.id != point.name:
        raise TypeError(f"{point.value} is {entry!r}, and not a kdgym.Entry with the id {point.name!r}")
    return entry


TABLE = Registry("kdgym.environments", "environment", lambda: {entry.id: entry for entry in ENVIRONMENTS}, _read)


def register_environment(entry: Entry) -> None:
    """Add an environment of another package to the table: for Gymnasium, the command line and the leaderboards.

    A package that is installed names it in the entry-point group ``kdgym.environments`` instead, by its id.

    Raises:
        ValueError: there is an environment of that id.
    """
    TABLE.add(entry.id, entry)
    if "gymnasium" in sys.modules:
        _enter(entry)


def environments() -> list[Entry]:
    """The whole table: kdgym's own rows, and those of other packages. One that cannot be used is left out, with a warning."""
    return list(TABLE.usable().values())


def find(id: str) -> Entry:
    """The table's row of an id.

    Raises:
        ValueError: there is no such environment, or the package that names it is broken.
    """
    if id in TABLE:
        return TABLE[id]
    known = {name.removeprefix("kdgym/"): name for name in TABLE.names()}
    meant = closest(id.removeprefix("kdgym/"), known)
    if meant:
        raise ValueError(f"There is no environment {id!r}. Did you mean {known[meant]!r}? kdgym list shows all.")
    raise ValueError(f"There is no environment {id!r}; choose from {', '.join(known.values())}.")

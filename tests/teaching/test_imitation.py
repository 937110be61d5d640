"""A teacher that imitates an upper bound learns what can be seen of it, whatever items there are, and a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.save_util import load_from_zip_file
from typer.testing import CliRunner

import kdgym
from kdgym.agents.any_family.learned import Agent
from kdgym.cli import app
from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.integrations.sb3_recurrent import ItemLayout, ItemPolicy
from kdgym.spaces import Block, Dial, Dials, MixedBox, Shares, blocks
from kdgym.teaching.imitation import Apprenticeship, Imitation

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}
HYPER: dict[str, Any] = {
    "students": 4,
    "watched": 2,
    "updates": 3,
    "last_updates": 5,
    "batch": 2,
    "width": 8,
    "every": 1,
}


def box(size: int) -> spaces.Box:
    return spaces.Box(-1, 1, (size,))


def market(sources: int, skills: int = 2) -> tuple[spaces.Dict, Shares]:
    """Skills with some sources each: one number a source, one a skill, one of the whole."""
    pairs = skills * sources
    return spaces.Dict({"price": box(pairs), "target": box(skills), "time": box(1)}), Shares(pairs)


def policy(
    observation_space: spaces.Dict, action_space: Any, items: tuple[str, ...], seed: int = 0, **options: Any
) -> Any:
    torch.manual_seed(seed)  # noqa: TID251  # SB3 draws weights from the process's generator
    return ItemPolicy(observation_space, action_space, lambda _: 1e-3, items=items, width=8, **options)


def seen(space: spaces.Dict, steps: int = 3, students: int = 2) -> torch.Tensor:
    size = sum(one.shape[0] for one in space.spaces.values() if one.shape)
    return torch.from_numpy(np.random.default_rng(0).normal(size=(steps, students, size))).float()


def test_an_items_place_does_not_matter() -> None:
    space, shares = market(sources=3)
    made, flat = policy(space, shares, ("price", "target")), seen(space)
    within, skills = [2, 0, 1, 5, 4, 3], [3, 4, 5, 0, 1, 2]
    with torch.no_grad():
        before = made.entries(flat)
        swapped = torch.cat([flat[..., :6][..., within], flat[..., 6:]], dim=-1)
        torch.testing.assert_close(made.entries(swapped), before[..., within])
        moved = torch.cat([flat[..., :6][..., skills], flat[..., [7, 6]], flat[..., 8:]], dim=-1)
        torch.testing.assert_close(made.entries(moved), before[..., skills])
    assert before.std() > 1e-3  # items differ


def test_what_was_seen_before_matters_and_what_comes_later_does_not() -> None:
    space, shares = market(sources=3)
    made, flat = policy(space, shares, ("price", "target")), seen(space)
    with torch.no_grad():
        before = made.entries(flat)
        changed = flat.clone()
        changed[1, :, 0] += 1
        after = made.entries(changed)
    assert torch.equal(before[0], after[0])
    assert (before[2] != after[2]).any()


def test_the_last_action_matters_if_it_is_recalled() -> None:
    space, shares = market(sources=3)
    flat, acted = seen(space), torch.zeros(3, 2, 6)
    other = acted.clone()
    other[1, :, 0] = 1
    for recall in (False, True):
        made = policy(space, shares, ("price", "target"), recall=recall)
        with torch.no_grad():
            before, after = made.entries(flat, acted), made.entries(flat, other)
        assert torch.equal(before[:2], after[:2])  # what comes later does not matter
        assert (before[2] != after[2]).any() == recall
    with pytest.raises(ValueError, match=r"needs items \* width >= 10, it is 8; raise width"):
        policy(spaces.Dict({"a": box(3)}), box(10), (), recall=True)


def test_who_plays_alone_recalls_its_own_actions() -> None:
    space, shares = market(sources=3)
    made, flat = policy(space, shares, ("price", "target"), recall=True), seen(space)
    state, done = None, []
    for now in flat.numpy():
        named = {"price": now[:, :6], "target": now[:, 6:8], "time": now[:, 8:]}
        action, state = made.predict(named, state, deterministic=True)
        done.append(torch.from_numpy(action))
    with torch.no_grad():
        expected = made.entries(flat, torch.stack(done))
    torch.testing.assert_close(torch.stack(done), expected.clamp(-1, 1))


def test_weights_fit_any_number_of_items() -> None:
    few, many = (
        policy(*market(sources=2), ("price", "target")),
        policy(*market(4, skills=5), ("price", "target"), seed=1),
    )
    many.load_state_dict(few.state_dict())
    assert many.entries(seen(many.observation_space)).shape == (3, 2, 20)


def test_layouts_tell_items_from_groups_and_the_whole() -> None:
    dials = Dials(
        [Dial("keep", "a"), Dial("trust", "b", scale="shares", members=3), Dial("draw", "c", scale="shares", members=2)]
    )
    layout = ItemLayout(spaces.Dict({"a": box(3), "b": box(2), "c": box(1)}), dials, ("a",))
    assert layout.by_item == [False, True, False]
    assert (layout.items, layout.groups, layout.features, layout.whole) == (3, 1, 4, 3)
    grid = layout.grid(torch.arange(6.0))
    assert grid.tolist() == [[0, 3, 4, 5], [1, 3, 4, 5], [2, 3, 4, 5]]
    with pytest.raises(ValueError, match="no observation nothing; there are a, b, c"):
        ItemLayout(spaces.Dict({"a": box(3), "b": box(2), "c": box(1)}), dials, ("nothing",))
    with pytest.raises(ValueError, match="3 items do not make 2 groups"):
        ItemLayout(spaces.Dict({"a": box(3), "b": box(2)}), dials, ("a", "b"))


def test_sources_of_labels_are_items_and_a_tutors_choices_are_choices() -> None:
    label: Any = gym.make_vec("kdgym/Label-Weak-v0", num_envs=1)
    layout = ItemLayout(label.single_observation_space, label.single_action_space, label.items)
    assert (layout.items, sum(layout.by_item)) == (5, 1)  # the shares of trust
    moves = blocks(gym.make_vec("kdgym/Tutoring-Math-v1", num_envs=1).single_action_space)
    assert moves[0] == Block("numbers", 6)  # what a pupil asks about
    assert {block.kind for block in moves[1:]} == {"choice", "numbers"}


def test_spaces_say_what_their_entries_stand_for() -> None:
    assert blocks(MixedBox({"fraction": (), "kind": ("a", "b")})) == (Block("numbers", 1), Block("choice", 2))
    assert blocks(Shares(5)) == (Block("shares", 5),)
    assert blocks(box(4)) == (Block("numbers", 4),)
    with pytest.raises(ValueError, match="a Box of numbers is wanted"):
        blocks(spaces.Discrete(3))


class Hidden(gym.vector.VectorEnv):  # type: ignore[type-arg]
    """One of four items is good; only in the step after it got a share does the observation of an item tell which."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    items, steps, device = ("told",), 3, torch.device("cpu")

    def __init__(self, num_envs: int, autoreset: bool = True) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Dict({"told": box(4), "time": spaces.Box(0, 1, (1,))})
        self.single_action_space = Shares(4)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.good, self.step_number = np.array(seed) % 4, 0
        return self._observe(np.zeros((self.num_envs, 4))), {}

    def _observe(self, told: Any) -> Any:
        left = np.full((self.num_envs, 1), 1 - self.step_number / 3)
        return {"time": left.astype(np.float32), "told": told.astype(np.float32)}

    def step(self, action: Any) -> Any:
        self.step_number += 1
        share = self.single_action_space.decode(action)
        good = np.eye(4)[self.good]
        over = np.full(self.num_envs, self.step_number == self.steps)
        return self._observe(good * (share > 0.1)), (share * good).sum(1), over, over & False, {}


def toy(monkeypatch: pytest.MonkeyPatch, **hyper: Any) -> Apprenticeship:
    class Knows:
        def __init__(self, envs: Any) -> None:
            self.envs = envs

        def reset(self, observation: Any) -> None: ...

        def act(self, observation: Any) -> Any:
            return self.envs.single_action_space.encode(np.eye(4)[self.envs.good])

    monkeypatch.setattr("kdgym.teaching.imitation.gym.make_vec", lambda _, num_envs, **options: Hidden(num_envs))
    monkeypatch.setattr("kdgym.teaching.imitation.expert", lambda name, envs: Knows(envs))
    return Apprenticeship("toy", {}, Imitation.parse({"labels": "knows", "width": 8, **hyper}), 0)


@pytest.mark.slow
def test_it_spreads_shares_until_it_sees_which_item_is_good_and_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy(monkeypatch, students=32, updates=60, learning_rate=1e-2, noise=0)
    for _ in range(6):
        run.learn()
    agent, envs = SB3Agent(run.model), Hidden(4)
    observation, _ = envs.reset(seed=np.arange(4))
    agent.reset(observation)
    taken = []
    for _ in range(3):
        taken.append(Shares(4).decode(agent.act(observation)))
        observation, *_ = envs.step(Shares(4).encode(taken[-1] if len(taken) == 1 else np.eye(4)[(envs.good + 1) % 4]))
    assert np.abs(taken[0] - 0.25).max() < 0.05  # nothing tells
    assert taken[1][np.arange(4), np.arange(4)].min() > 0.8  # the second observation tells
    assert taken[2][np.arange(4), np.arange(4)].min() > 0.8  # the third does not, as the good one got no share


def test_only_steps_before_an_episodes_end_count(monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy(monkeypatch, students=2)
    observed, wanted, acted = seen(run.policy.observation_space), torch.full((3, 2, 4), -1.0), torch.zeros(3, 2, 4)
    wanted[:, 0, 0] = wanted[:, 1, 1] = 1
    counts = torch.tensor([[True, True], [True, False], [True, False]])
    first = run.loss(observed, acted, wanted, counts)
    wanted[1:, 1] = torch.tensor([1.0, 1.0, 1.0, 1.0])
    assert torch.equal(run.loss(observed, acted, wanted, counts), first)
    wanted[0, 1] = torch.tensor([1.0, -1.0, -1.0, -1.0])
    assert run.loss(observed, acted, wanted, counts) != first


def parameters(path: Path) -> dict[str, torch.Tensor]:
    _, loaded, _ = load_from_zip_file(path, load_data=False)
    found: dict[str, torch.Tensor] = loaded["policy"]
    return found


def train(out: Path, stop_after: int = 0, **changes: Any) -> Path:
    told: list[str] = []

    def report(done: int, text: str) -> None:
        told.append(text)
        if len(told) == stop_after:
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"seed": 1, "settings": SMALL, "hyper": HYPER, **changes}
    return Agent.train(ID, 36, out, report=report, **arguments)


@pytest.mark.slow
def test_an_interrupted_run_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    hyper = {**HYPER, "labels": "lookahead"}  # which draws at random what it tries
    undisturbed = train(tmp_path / "a", hyper=hyper)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", stop_after=2, hyper=hyper)
    assert not (tmp_path / "b" / "model.zip").exists()
    torch.rand(7)  # whatever else the process draws in between
    resumed = train(tmp_path / "b", hyper=hyper)
    one, other = parameters(undisturbed), parameters(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    curves = [json.loads((tmp_path / run / "curve.json").read_text()) for run in "ab"]
    assert curves[0] == curves[1]
    assert [point["steps"] for point in curves[0]] == [12, 24, 36]
    with pytest.raises(ValueError, match="belongs to another run"):
        train(tmp_path / "b", seed=2, hyper=hyper)


@pytest.mark.slow
def test_what_was_trained_teaches_tasks_of_other_sizes_and_ppo_goes_on_from_it(tmp_path: Path) -> None:
    path = train(tmp_path)
    scores = kdgym.evaluate(ID, f"learned:{path}", episodes=2, sources=2, **SMALL)
    assert scores.after.shape == (2,)
    model = RecurrentPPO.load(path, env=as_vec_env(gym.make_vec(ID, num_envs=2, **SMALL)))
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(6, reset_num_timesteps=False)
    assert model.num_timesteps == 36 + 6
    assert any((value != before[name]).any() for name, value in model.policy.state_dict().items())


@pytest.mark.slow
def test_a_file_for_other_observations_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = train(tmp_path)
    envs: Any = gym.make_vec("kdgym/Select-Images-v0", num_envs=1)
    with pytest.raises(ValueError, match="does not fit this environment's spaces"):
        SB3Agent.from_zip(path, envs.single_observation_space, envs.single_action_space)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="not a model that Stable-Baselines3 saved"):
        SB3Agent.from_zip(path, envs.single_observation_space, envs.single_action_space)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hyper", "sentence"),
    [
        ({"labels": "uniform"}, "labels='uniform' is no upper bound"),
        ({"labels": "nobody"}, "labels='nobody' is no upper bound"),
        ({"students": 0}, "students=0 is refused"),
        ({"rounds": 3}, "no hyper-parameter 'rounds'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(hyper: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(tmp_path, hyper={**HYPER, **hyper})


@pytest.mark.slow
def test_the_command_line_trains_it(tmp_path: Path) -> None:
    command = ["train", ID, "--agent", "learned", "--out", str(tmp_path), "--steps", "12"]
    command += [f"--hyper={name}={value}" for name, value in HYPER.items()]
    command += [f"--set={name}={value}" for name, value in SMALL.items()]
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    assert f"--agent learned:{tmp_path / 'model.zip'} --set steps=3" in result.output.replace("\n", "")

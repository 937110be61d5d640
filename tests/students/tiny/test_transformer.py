"""The tiny students: real learning by AdamW, exact examinations, and rows that know nothing of each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.students import Batch, Engine, TransformerConfig, TransformerStudents, check_device, make_students
from kdgym.tasks import make_task
from kdgym.tasks.base import Split

BATCH = TransformerConfig().batch
SKILLS = [skill.name for skill in make_task("Math").skills]


@pytest.fixture(scope="module", params=["torch", "kernel"])
def engine(request: pytest.FixtureRequest) -> TransformerStudents:
    return TransformerStudents(make_task("Math"), engine=request.param)


@pytest.fixture(scope="module")
def precise() -> TransformerStudents:
    """A smaller student in double precision, to compare formulas."""
    return TransformerStudents(make_task("Math"), TransformerConfig(width=16, layers=2), dtype=torch.float64)


@pytest.fixture(scope="module")
def pretrained(engine: TransformerStudents) -> Tensor:
    """Eight students at different stages of a mixture of all skills."""
    key = torch.arange(8)
    state = engine.initialise(key)
    problem = draw(engine, random.fold(key, 1), 3000)
    engine.train(state, Batch(problem, engine.solution[problem], (key + 1) * 375))
    return state


def draw(engine: TransformerStudents, key: Tensor, n: int, skill: str | None = None, split: Split = "train") -> Tensor:
    """``n`` problems a key, of one skill or of all: int64 [S, n]."""
    pool = engine.task.pool(split)
    which = random.integers(random.fold(key, 0), n, len(SKILLS))
    if skill is not None:
        which = torch.full_like(which, SKILLS.index(skill))
    return pool.start[which] + random.integers(random.fold(key, 1), n, pool.count[which])


def full(students: int, count: int) -> Tensor:
    return torch.full((students,), count)


def bits(state: Tensor) -> Tensor:
    """For bitwise comparison: tells 0 from -0, and NaN equals itself."""
    return state.view(torch.int64 if state.dtype == torch.float64 else torch.int32)


# --- state -------------------------------------------------------------------------------------------------------


def test_an_untrained_student_depends_on_its_key_alone(engine: TransformerStudents) -> None:
    state = engine.initialise(torch.arange(5))
    assert torch.equal(state[[3]], engine.initialise(torch.tensor([3])))
    assert not torch.equal(state[0], state[1])


def test_an_untrained_student_has_a_fresh_optimiser(engine: TransformerStudents) -> None:
    state = engine.initialise(torch.arange(5))
    assert state.shape == (5, engine.row)
    assert (state[:, engine.weights :] == 0).all()


def test_initial_matrices_have_their_scale(engine: TransformerStudents) -> None:
    views = engine.network.views(engine.initialise(torch.arange(50)))
    for i, (view, shape) in enumerate(zip(views, engine.network.matrices, strict=True)):
        scale = 0.3 if i < 2 else shape[0] ** -0.5
        assert view.mean().item() == pytest.approx(0, abs=0.02 * scale)
        assert view.std().item() == pytest.approx(scale, rel=0.02)
        assert (view.abs() > 2 * scale).double().mean().item() == pytest.approx(0.0455, abs=0.005)  # normal tails


def test_the_weights_in_front_are_the_whole_model(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem, other = draw(engine, torch.arange(8), 50), pretrained.clone()
    other[:, engine.weights :] = torch.nan
    for a, b in zip(engine.evaluate(pretrained, problem), engine.evaluate(other, problem), strict=True):
        assert torch.equal(a, b)


# --- examination -------------------------------------------------------------------------------------------------


def test_an_examination_agrees_with_decoding_token_by_token(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem = draw(engine, random.fold(torch.arange(8), 5), 1000)
    right, _ = engine.evaluate(pretrained, problem)
    decoded = engine.decode(pretrained, problem)
    assert torch.equal((decoded == engine.tables.answers[engine.solution[problem]]).all(-1), right)
    assert 0.1 < right.double().mean() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "kernel"])
def test_where_other_answers_may_be_right_the_students_own_are_judged(name: Engine) -> None:
    programs = TransformerStudents(make_task("Code"), engine=name)
    key, task = torch.arange(2), programs.task
    state, problem = programs.initialise(key), random.integers(key, 600, len(task.prompt))
    programs.train(state, Batch(problem, programs.solution[problem], full(2, 600)))
    right, _ = programs.evaluate(state, problem)
    said = programs.decode(state, problem)
    assert torch.equal(right, task.judge(problem, said))
    assert (right & (said != task.answer[task.solution[problem]]).any(-1)).any()


def test_an_examination_leaves_no_trace(engine: TransformerStudents, pretrained: Tensor) -> None:
    before = pretrained.clone()
    engine.evaluate(pretrained, draw(engine, torch.arange(8), 100))
    engine.decode(pretrained, draw(engine, torch.arange(8), 10))
    assert torch.equal(bits(pretrained), bits(before))


def test_the_loss_of_an_examination_is_the_cross_entropy(precise: TransformerStudents) -> None:
    state, problem = precise.initialise(torch.arange(2)), draw(precise, torch.arange(2), 100)
    _, loss = precise.evaluate(state, problem)
    tokens = precise.tables.answers[precise.solution[problem]]
    inputs = torch.cat([precise.tables.prompts[problem], tokens[:, :, :-1]], dim=2)
    expected = torch.distributions.Categorical(logits=precise.network.logits(state, inputs)).log_prob(tokens)
    torch.testing.assert_close(loss, -expected.mean(-1))


def test_an_answer_is_right_only_as_a_whole(engine: TransformerStudents, pretrained: Tensor) -> None:
    """One wrong token makes it wrong: students that know all tokens but one exist, and are not given credit."""
    problem = draw(engine, random.fold(torch.arange(8), 6), 1000)
    tokens_right = (engine.decode(pretrained, problem) == engine.tables.answers[engine.solution[problem]]).sum(-1)
    right, _ = engine.evaluate(pretrained, problem)
    assert (tokens_right == engine.tables.answers.shape[1] - 1).any()
    assert not right[tokens_right < engine.tables.answers.shape[1]].any()


def test_logits_are_what_examinations_are_made_from(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem = draw(engine, torch.arange(8), 100)
    logits, tokens = engine.logits(pretrained, problem), engine.tables.answers[engine.solution[problem]]
    right, loss = engine.evaluate(pretrained, problem)
    expected = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), tokens, reduction="none").mean(-1)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert ((logits.argmax(-1) == tokens).all(-1) != right).sum() <= 1  # two may be equally likely to the last bit
    assert not logits.requires_grad


def test_logits_follow_the_answer_that_is_given(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem = draw(engine, torch.arange(8), 10)
    other = engine.solution[problem].roll(1, dims=1)
    one, two = engine.logits(pretrained, problem), engine.logits(pretrained, problem, other)
    assert torch.equal(one[:, :, 0], two[:, :, 0])  # before the first token is read
    read = engine.tables.answers[engine.solution[problem]] != engine.tables.answers[other]
    assert (one != two).any(-1)[:, :, 1][read[:, :, 0]].all()


def test_features_end_in_the_logits(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem = draw(engine, torch.arange(8), 70)
    last = engine.features(pretrained, problem, engine.config.layers)
    output = engine.network.views(pretrained)[2].unsqueeze(1)
    expected = last / torch.sqrt((last**2).mean(-1, keepdim=True) + 1e-6) @ output
    torch.testing.assert_close(engine.logits(pretrained, problem), expected, rtol=1e-4, atol=1e-4)
    assert engine.features(pretrained, problem, 0).shape == (8, 70, 3, engine.config.width)


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_layer_that_is_not_there_is_refused(engine: TransformerStudents, pretrained: Tensor, layer: int) -> None:
    with pytest.raises(ValueError, match=f"no layer {layer}; choose from 0 to 1"):
        engine.features(pretrained, draw(engine, torch.arange(8), 2), layer)


# --- the optimiser -----------------------------------------------------------------------------------------------


def test_full_batches_are_steps_of_torchs_adamw(precise: TransformerStudents) -> None:
    config, steps = precise.config, 20
    state = precise.initialise(torch.arange(3))
    problem = draw(precise, random.fold(torch.arange(3), 1), steps * BATCH)
    answer = precise.solution[problem]
    weights = state[:, : precise.weights].clone().requires_grad_()
    optimiser = torch.optim.AdamW(
        [weights],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        weight_decay=config.weight_decay,
    )
    for step in range(steps):
        part = slice(step * BATCH, (step + 1) * BATCH)
        tokens = precise.tables.answers[answer[:, part]]
        inputs = torch.cat([precise.tables.prompts[problem[:, part]], tokens[:, :, :-1]], dim=2)
        _, weights.grad = precise.network.loss_and_gradient(
            weights.detach(), inputs, tokens, torch.ones(3, BATCH).double()
        )
        optimiser.step()
    precise.train(state, Batch(problem, answer, full(3, steps * BATCH)))
    torch.testing.assert_close(state[:, : precise.weights], weights.detach(), rtol=0, atol=1e-9)


def test_half_a_batch_makes_half_the_step(precise: TransformerStudents) -> None:
    """Both batches have the same mean gradient: the full one holds every item of the half one twice."""
    before = precise.initialise(torch.arange(3))
    half = draw(precise, random.fold(torch.arange(3), 1), BATCH // 2)
    whole = torch.cat([half, half], dim=1)
    steps = []
    for problem in (half, whole):
        state = before.clone()
        precise.train(state, Batch(problem, precise.solution[problem], full(3, problem.shape[1])))
        steps.append((state - before)[:, : precise.weights])
    torch.testing.assert_close(2 * steps[0], steps[1], rtol=0, atol=1e-9)
    assert steps[1].abs().mean() > 0.5 * precise.config.learning_rate


def test_a_student_without_items_stays_bitwise_as_it_is(engine: TransformerStudents, pretrained: Tensor) -> None:
    state, problem = pretrained.clone(), draw(engine, random.fold(torch.arange(8), 2), 64)
    count = torch.tensor([0, 64, 0, 10, 0, 0, 33, 0])
    losses = engine.train(state, Batch(problem, engine.solution[problem], count))
    idle = count == 0
    assert torch.equal(bits(state[idle]), bits(pretrained[idle]))
    assert (losses[idle] == 0).all()
    assert (state[~idle] != pretrained[~idle]).any(1).all()


def test_nobody_may_have_items(engine: TransformerStudents, pretrained: Tensor) -> None:
    state, problem = pretrained.clone(), draw(engine, torch.arange(8), 16)
    losses = engine.train(state, Batch(problem, engine.solution[problem], full(8, 0)))
    assert torch.equal(bits(state), bits(pretrained)) and (losses == 0).all()


def test_items_after_the_count_are_ignored(engine: TransformerStudents, pretrained: Tensor) -> None:
    one, two = pretrained.clone(), pretrained.clone()
    problem, count = draw(engine, torch.arange(8), 64), torch.arange(8) * 9
    other = torch.where(torch.arange(64) < count[:, None], problem, draw(engine, torch.arange(8) + 50, 64))
    losses = engine.train(one, Batch(problem, engine.solution[problem], count))
    assert torch.equal(engine.train(two, Batch(other, engine.solution[other], count)), losses)
    assert torch.equal(bits(one), bits(two))
    assert torch.equal(losses > 0, torch.arange(64) < count[:, None])


def test_losses_are_those_before_the_update(engine: TransformerStudents, pretrained: Tensor) -> None:
    problem = draw(engine, torch.arange(8), BATCH)
    _, expected = engine.evaluate(pretrained, problem)
    losses = engine.train(pretrained.clone(), Batch(problem, engine.solution[problem], full(8, BATCH)))
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-6)


def test_two_lessons_are_one_lesson(engine: TransformerStudents, pretrained: Tensor) -> None:
    """All a student's future depends on is in its row."""
    problem = draw(engine, torch.arange(8), 8 * BATCH)
    whole, parts = pretrained.clone(), pretrained.clone()
    engine.train(whole, Batch(problem, engine.solution[problem], full(8, 8 * BATCH)))
    for part in problem.split(2 * BATCH, dim=1):
        engine.train(parts, Batch(part, engine.solution[part], full(8, 2 * BATCH)))
        parts = parts.clone()
    assert torch.equal(bits(whole), bits(parts))


# --- independence of the population ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [[0], [7], [15], [0, 1, 2, 3], [12, 3, 5, 8], [5, 5, 5], list(reversed(range(16)))],
    ids=lambda rows: f"{len(rows)} from {rows[0]}",
)
def test_a_student_learns_bitwise_the_same_in_any_population(engine: TransformerStudents, rows: list[int]) -> None:
    """At one thread: alone, among few, among many, in any slot."""
    key = torch.arange(16)
    problem, count = draw(engine, random.fold(key, 3), 300), 300 - 17 * key
    answer = random.integers(random.fold(key, 4), 300, len(engine.tables.answers))
    population = engine.initialise(key)
    losses = engine.train(population, Batch(problem, answer, count))
    some = engine.initialise(key[rows])
    some_losses = engine.train(some, Batch(problem[rows], answer[rows], count[rows]))
    assert torch.equal(bits(some), bits(population[rows]))
    assert torch.equal(bits(some_losses), bits(losses[rows]))


@pytest.mark.parametrize("rows", [[0], [6], [0, 1, 2, 3], [7, 2, 5]], ids=str)
def test_a_student_is_examined_bitwise_the_same_in_any_population(
    engine: TransformerStudents, pretrained: Tensor, rows: list[int]
) -> None:
    problem = draw(engine, torch.arange(8), 100)
    right, loss = engine.evaluate(pretrained, problem)
    some_right, some_loss = engine.evaluate(pretrained[rows], problem[rows])
    assert torch.equal(some_right, right[rows])
    assert torch.equal(bits(some_loss), bits(loss[rows]))


# --- learning ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("skill", ["add_no_carry", "compare"])
def test_a_student_learns_what_it_is_taught(engine: TransformerStudents, skill: str) -> None:
    key = torch.arange(4)
    state, examination = engine.initialise(key), draw(engine, key, 200, skill, split="validation")
    before = engine.evaluate(state, examination)[0].double().mean(1)
    problem = draw(engine, random.fold(key, 1), 6000, skill)
    engine.train(state, Batch(problem, engine.solution[problem], full(4, 6000)))
    after = engine.evaluate(state, examination)[0].double().mean(1)
    assert (before < 0.4).all()
    assert (after > 0.8).all()


@pytest.mark.slow
def test_a_student_does_not_learn_what_it_is_not_taught(engine: TransformerStudents) -> None:
    key = torch.arange(4)
    state, examination = engine.initialise(key), draw(engine, key, 200, "compare", split="validation")
    problem = draw(engine, random.fold(key, 1), 6000, "add_no_carry")
    engine.train(state, Batch(problem, engine.solution[problem], full(4, 6000)))
    assert (engine.evaluate(state, examination)[0].double().mean(1) < 0.4).all()


@pytest.mark.slow
def test_a_student_that_is_taught_wrong_answers_gives_them(engine: TransformerStudents) -> None:
    """The signs < and > exchanged."""
    key, start = torch.arange(4), int(engine.task.answer_pool.start[SKILLS.index("compare")])
    state, problem = engine.initialise(key), draw(engine, random.fold(key, 1), 6000, "compare")
    engine.train(state, Batch(problem, 2 * (start + 1) - engine.solution[problem], full(4, 6000)))
    examination = draw(engine, key, 200, "compare", split="validation")
    unequal = engine.solution[examination] != start + 1
    assert (engine.evaluate(state, examination)[0] & unequal).sum() < 0.1 * unequal.sum()


# --- making an engine --------------------------------------------------------------------------------------------


def test_the_costs_of_an_item_follow_from_the_sizes(engine: TransformerStudents) -> None:
    assert engine.tokens_per_item == engine.tables.prompts.shape[1] + engine.tables.answers.shape[1] == 7 + 3
    assert engine.forward_flops == engine.network.forward_flops()


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="no student 'lstm'; choose from transformer"):
        make_students("lstm", make_task("Math"), "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Try 'cpu'"):
        check_device(name)

"""Language models that practise: what they sample, read and learn is what transformers and PEFT compute, one text at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from kdgym import random
from kdgym.students import Batch
from kdgym.students.language.options import LanguageOptions
from kdgym.students.language.reasoner import LanguageReasoners
from kdgym.students.policy_gradient import SHAPINGS, Objective, Rollouts, group_advantages, grpo_loss
from kdgym.tasks import make_task
from kdgym.tasks.feedback import BEHAVIOURS, TEXT_KINDS
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow

STUDENTS, GROUP, PROBLEMS = 2, 4, 2
HINT, CONCEPT, NEXT, FULL = range(len(TEXT_KINDS))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def make(model: Path, **options: Any) -> LanguageReasoners:
    given = {"rank": 4, "max_new_tokens": 10, "max_feedback_tokens": 200, **options}
    return LanguageReasoners(str(model), make_task("CHAMP"), LanguageOptions.parse(given))


@pytest.fixture(scope="module")
def engine(model: Path) -> LanguageReasoners:
    return make(model)


@pytest.fixture(scope="module")
def state(engine: LanguageReasoners) -> Tensor:
    """Students who differ from the base and from each other."""
    state = engine.initialise(torch.arange(STUDENTS))
    problem = engine.task.pool("train").start[:4].expand(STUDENTS, -1) + torch.arange(STUDENTS).unsqueeze(1)
    engine.train(state, Batch(problem, problem, torch.full((STUDENTS,), 4)))
    return state


@pytest.fixture(scope="module")
def problem(engine: LanguageReasoners) -> Tensor:
    return engine.task.pool("train").start[[0, 2]] + torch.arange(STUDENTS).unsqueeze(1)


def chance(width: int, key: int = 0) -> Tensor:
    rows = GROUP * PROBLEMS
    return random.uniform(torch.arange(STUDENTS) + 7 + key, rows * width).view(STUDENTS, rows, width)


@pytest.fixture(scope="module")
def attempts(engine: LanguageReasoners, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    tokens, log_p = engine.sample(state, problem, chance(engine.attempt_width))
    return problem.repeat_interleave(GROUP, dim=1), tokens, log_p


def guided(engine: LanguageReasoners, state: Tensor, attempts: tuple[Tensor, Tensor, Tensor], kind: int) -> Any:
    """Every second attempt with feedback: the feedback, which attempts, tokens and log-probabilities."""
    each, tokens, log_p = attempts
    wrong = torch.zeros_like(each, dtype=torch.bool)
    said = engine.comment(each, tokens, wrong, torch.full((STUDENTS,), kind), torch.full((STUDENTS,), 2))
    chosen = (torch.arange(each.shape[1]) % 2 == 0) & (said.given > said.own)
    new = engine.resume(state, each, chance(engine.width, 50), said.tokens, said.given, chosen)
    picked = chosen.unsqueeze(2)
    return said, chosen, torch.where(picked, new[0], tokens), torch.where(picked, new[1], log_p)


def peft_model(model: Path, engine: LanguageReasoners, student: Tensor, folder: Path) -> Any:
    engine.export(student, folder)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder, is_trainable=True)


def plain_log_p(reference: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Log-probability of every token of an answer, of one text alone."""
    logits = reference(torch.tensor([[*prompt, *answer]])).logits[0]
    likely = torch.log_softmax(logits.float(), dim=-1)[len(prompt) - 1 : -1]
    return likely.gather(1, torch.tensor(answer).unsqueeze(1)).squeeze(1)


# --- what is sampled -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, HINT, FULL])
def test_log_probabilities_are_those_of_each_text_alone_under_peft(
    model: Path, engine: LanguageReasoners, state: Tensor, attempts: Any, kind: int | None, tmp_path: Path
) -> None:
    """Of own tokens, of the teacher's, and of what follows them; when they are written and when they are read again."""
    each, tokens, log_p = attempts
    if kind is not None:
        *_, tokens, log_p = guided(engine, state, attempts, kind)
    torch.testing.assert_close(engine.log_p(state, each, tokens), log_p, atol=1e-4, rtol=0)
    for s in range(STUDENTS):
        reference = peft_model(model, engine, state[s], tmp_path / str(s))
        for b in range(each.shape[1]):
            written = tokens[s, b][engine.written(tokens[s, b])].tolist()
            prompt = engine.prompts.problem(engine.task.text(int(each[s, b])))
            expected = plain_log_p(reference, prompt, written).detach()
            torch.testing.assert_close(log_p[s, b, : len(written)], expected, atol=1e-4, rtol=0)
            assert log_p[s, b, len(written) :].eq(0).all()


def test_samples_follow_the_students_probabilities(engine: LanguageReasoners, state: Tensor, problem: Tensor) -> None:
    one, n = problem[:1, :1], 2000
    uniform = random.uniform(torch.tensor([3]), n).view(1, n, 1)
    tokens, log_p = engine.sample(state[:1], one, uniform.expand(-1, -1, engine.attempt_width).contiguous())
    first, probability = tokens[0, :, 0], log_p[0, :, 0].exp()
    for token in first.unique():
        p = float(probability[first == token][0])
        assert abs(float((first == token).double().mean()) - p) < 4 * (p * (1 - p) / n) ** 0.5 + 1e-3


def test_an_attempt_ends_at_its_end_or_is_cut(engine: LanguageReasoners, attempts: Any) -> None:
    each, tokens, _ = attempts
    length = engine.written(tokens).sum(2)
    kinds = engine.missteps(each, tokens)[1]
    for s, b in torch.cartesian_prod(torch.arange(STUDENTS), torch.arange(each.shape[1])).tolist():
        own = tokens[s, b, : length[s, b]].tolist()
        ends = [place for place, token in enumerate(own) if token in engine.prompts.stops]
        assert ends in ([], [len(own) - 1])
        assert len(own) == engine.attempt_width or ends
        assert (int(kinds[s, b]) == engine.errors.index("cut")) == (not ends)


def test_what_a_student_writes_is_its_own_affair(engine: LanguageReasoners, state: Tensor, problem: Tensor) -> None:
    uniform = chance(engine.attempt_width)
    together, _ = engine.sample(state, problem, uniform)
    alone, _ = engine.sample(state[1:], problem[1:], uniform[1:])
    assert together[1:].equal(alone)


def test_where_nobody_is_guided_nobody_goes_on(engine: LanguageReasoners, state: Tensor, attempts: Any) -> None:
    each, tokens, _ = attempts
    nobody = torch.zeros_like(each, dtype=torch.bool)
    begun, given = tokens, engine.written(tokens).sum(2)
    after, _ = engine.resume(state, each, torch.zeros(tokens.shape), begun, given, nobody)
    assert after.equal(tokens)


def _as_read(sentences: list[str]) -> list[str]:
    """What the tiny model's tokeniser knows of them."""
    return [sentence.encode("ascii", "ignore").decode() for sentence in sentences]


# --- feedback --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [HINT, CONCEPT, NEXT])
def test_feedback_stands_behind_the_students_own_words(
    engine: LanguageReasoners, state: Tensor, attempts: Any, kind: int
) -> None:
    each, tokens, _ = attempts
    said, chosen, whole, _ = guided(engine, state, attempts, kind)
    assert chosen.any()
    for s, b in chosen.nonzero().tolist():
        own, given = int(said.own[s, b]), int(said.given[s, b])
        kept = [t for t in tokens[s, b].tolist() if t >= 0 and t not in engine.prompts.stops]
        assert whole[s, b, :own].tolist() == kept
        assert given - own <= engine.options.max_feedback_tokens
        words = engine.text_of(said.tokens[s, b, own:given].unsqueeze(0))[0]
        sentences = engine.task.advice(int(each[s, b]), TEXT_KINDS[kind])[:2]
        known = _as_read(sentences)
        assert words.endswith(tuple(": " + " ".join(known[:n]) + "\n" for n in (1, 2)))
        assert int(engine.written(whole[s, b]).sum()) > given  # the student went on
        assert said.mask[s, b].sum() == given - own


def test_a_full_solution_stands_in_place_of_the_attempt_and_is_right(
    engine: LanguageReasoners, state: Tensor, attempts: Any
) -> None:
    each = attempts[0]
    said, chosen, whole, _ = guided(engine, state, attempts, FULL)
    assert said.own[chosen].eq(0).all()
    assert engine.judge(each, whole)[chosen].all()
    assert (engine.written(whole).sum(2) == said.given)[chosen].all()  # nothing follows the end


def test_feedback_that_is_too_long_is_cut_to_whole_sentences(model: Path) -> None:
    short = make(model, max_feedback_tokens=60)
    problem = torch.arange(len(short.task.solution)).unsqueeze(0)
    tokens = torch.full((*problem.shape, short.width), -1)
    tokens[:, :, 0] = short.prompts.end
    wrong, most = torch.zeros_like(problem, dtype=torch.bool), torch.tensor([4])
    said = short.comment(problem, tokens, wrong, torch.tensor([HINT]), most)
    silent = said.given == said.own
    assert 0 < int(silent.sum()) < problem.shape[1]  # not even the first sentence fits
    assert (said.given - said.own <= 60).all()
    for p in (~silent)[0].nonzero().flatten().tolist():
        words = short.text_of(said.tokens[:1, p, : int(said.given[0, p])])[0]
        known = _as_read(short.task.advice(p, "hint"))
        assert words in {f"\nHint: {' '.join(known[:n])}\n" for n in range(1, 5)}
    shown = short.comment(problem, tokens, wrong, torch.tensor([FULL]), most)
    told = shown.given > shown.own
    assert short.judge(problem, shown.tokens)[told].all()  # whatever is left out, the answer is not
    assert (shown.given[told] <= short.width).all()


def test_a_context_that_is_too_small_is_refused(model: Path, problem: Tensor) -> None:
    large = make(model, max_new_tokens=900, max_feedback_tokens=400)
    with pytest.raises(ValueError, match="reads 2048; choose a smaller max_new_tokens"):
        large.sample(large.initialise(torch.arange(STUDENTS)), problem, chance(large.attempt_width))


def test_a_teachers_own_words_neither_answer_nor_end_the_turn(engine: LanguageReasoners, attempts: Any) -> None:
    each, tokens, _ = attempts
    solution = engine.task.answer_text(int(each[0, 0]))
    wrong, one = torch.zeros_like(each, dtype=torch.bool), torch.zeros(STUDENTS, dtype=torch.int64)
    said = engine.comment(
        each, tokens, wrong, one, one + 1, lambda s, b: f"Look again.</s> {solution}" if b == 0 else ""
    )
    assert said.given[0, 0] > said.own[0, 0]
    assert not engine.judge(each, said.tokens)[0, 0]
    assert not torch.isin(said.tokens[0, 0], torch.tensor(sorted(engine.prompts.stops))).any()
    assert (said.given == said.own)[:, 1:].all()


@pytest.mark.parametrize(("task", "kind"), [("Math", "next_step"), ("Reasoning", "full_solution")])
def test_a_teacher_reads_attempts_and_answers_in_words(model: Path, task: str, kind: str) -> None:
    """One student is told something, the other nothing; both answers are billed, and nobody is commented on in examinations."""
    speech = {"rank": 4, "max_new_tokens": 8, "max_feedback_tokens": 40}
    course = {"steps": 1, "group": 4, "budget": 4000.0, "validation_items": 1, "test_items": 1}
    envs: Any = gym.make_vec(
        "kdgym/Feedback-Math-v0", 2, task=task, student=f"hf:{model}", student_options=speech, autoreset=False, **course
    )
    read: list[dict[str, Any]] = []

    def comment(attempts: list[dict[str, Any]]) -> list[tuple[str, int]]:
        read.extend(attempts)
        return [("Look at the first step again.", 7) if one["student"] == 0 else ("", 3) for one in attempts]

    envs.commentator = comment
    envs.reset(seed=0)
    decisions = {"which": "random", "kind": kind, "shaping": "plain", "weight": 1}
    *_, info = envs.step(envs.single_action_space.encode(2, fraction=0.5, **decisions))
    assert sorted(one["student"] for one in read) == [0, 0, 1, 1]
    problems = {envs.task.text(problem) for problem in range(len(envs.task.solution))}
    assert {one["problem"] for one in read} <= problems
    assert {one["behaviour"] for one in read} == {BEHAVIOURS[kind]}
    words, nothing = info["cost/teacher/tokens"]
    assert words > 2 * 7
    assert nothing == 2 * 3
    assert torch.isfinite(envs.state["student"]).all()
    envs.examine("test")
    assert len(read) == 4


# --- what is learned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shaping", range(len(SHAPINGS)))
def test_an_update_is_that_of_transformers_and_adamw(
    model: Path, engine: LanguageReasoners, state: Tensor, attempts: Any, shaping: int, tmp_path: Path
) -> None:
    """Three updates on guided and unguided rollouts with a divergence from the base, every text alone, to 1e-4."""
    each = attempts[0]
    said, chosen, tokens, log_p = guided(engine, state, attempts, HINT)
    feedback = said.mask & chosen.unsqueeze(2)
    rollouts = Rollouts(each, tokens, log_p, engine.written(tokens), feedback)
    reward = random.uniform(torch.arange(STUDENTS), each.shape[1]).float().view(STUDENTS, PROBLEMS, GROUP)
    advantage = group_advantages((reward > 0.5).float()).flatten(1)
    base, objective = engine.log_p(engine.initialise(torch.arange(STUDENTS)), each, tokens), Objective(kl=0.05)

    def loss_of(now: Tensor, part: slice) -> Tensor:
        given, everybody = rollouts.of(part), torch.ones(advantage[part].shape, dtype=torch.bool)
        kind, weight = torch.full((len(now),), shaping), torch.full((len(now),), 0.7)
        return grpo_loss(now, given, advantage[part], everybody, kind, weight, objective, base[part])

    ours, rate = state.clone(), 1e-2
    ours[:, engine.weights :] = 0
    references = [peft_model(model, engine, state[s], tmp_path / str(s)) for s in range(STUDENTS)]
    for _ in range(3):
        engine.update(ours, each, tokens, loss_of, torch.ones(STUDENTS, dtype=torch.bool), rate)
    for s, reference in enumerate(references):
        weights = [parameter for parameter in reference.parameters() if parameter.requires_grad]
        c = engine.options
        optimiser = torch.optim.AdamW(weights, lr=rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=0)
        for _ in range(3):
            now = torch.zeros(1, *tokens.shape[1:])
            for b in range(each.shape[1]):
                written = tokens[s, b][engine.written(tokens[s, b])].tolist()
                prompt = engine.prompts.problem(engine.task.text(int(each[s, b])))
                now[0, b, : len(written)] = plain_log_p(reference, prompt, written)
            optimiser.zero_grad()
            loss_of(now, slice(s, s + 1)).sum().backward()
            optimiser.step()
        reference.save_pretrained(tmp_path / f"after {s}")
        expected = engine.load(tmp_path / f"after {s}")[: engine.weights]
        moved = (expected - state[s, : engine.weights]).abs().max()
        assert moved > 1e-3
        assert (ours[s, : engine.weights] - expected).abs().quantile(0.99) < 1e-4
        alone = engine.log_p(expected.unsqueeze(0), each[s : s + 1], tokens[s : s + 1])
        torch.testing.assert_close(
            engine.log_p(ours[s : s + 1], each[s : s + 1], tokens[s : s + 1]), alone, atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_groups_without_signal_move_nobody(
    engine: LanguageReasoners, state: Tensor, attempts: Any, reward: float
) -> None:
    each, tokens, log_p = attempts
    nobody = torch.zeros_like(engine.written(tokens))
    rollouts = Rollouts(each, tokens, log_p, engine.written(tokens), nobody)
    advantage = group_advantages(torch.full((STUDENTS, PROBLEMS, GROUP), reward)).flatten(1)

    def loss(now: Tensor, part: slice) -> Tensor:
        counted, plain = torch.ones(advantage[part].shape, dtype=torch.bool), torch.ones(len(now), dtype=torch.int64)
        return grpo_loss(now, rollouts.of(part), advantage[part], counted, plain, torch.ones(len(now)))

    after = state.clone()
    after[:, engine.weights :] = 0
    engine.update(after, each, tokens, loss, torch.ones(STUDENTS, dtype=torch.bool), 1e-2)
    assert after[:, : engine.weights].equal(state[:, : engine.weights])


def test_who_is_not_active_stays_as_it_is(engine: LanguageReasoners, state: Tensor, attempts: Any) -> None:
    each, tokens, _ = attempts
    after = state.clone()
    active = torch.tensor([False, True])
    engine.update(after, each, tokens, lambda now, _: -now.sum((1, 2)), active, 1e-2)
    assert after[0].equal(state[0])
    assert not after[1].equal(state[1])


def test_small_passes_change_nothing(model: Path, engine: LanguageReasoners, state: Tensor, problem: Tensor) -> None:
    small = make(model, most_tokens=300)
    results = []
    for students in (engine, small):
        tokens, log_p = students.sample(state, problem, chance(engine.attempt_width))
        after, each = state.clone(), problem.repeat_interleave(GROUP, dim=1)
        everybody = torch.ones(STUDENTS, dtype=torch.bool)
        students.update(after, each, tokens, lambda now, _: -now.sum((1, 2)), everybody, 1e-3)
        results.append((tokens, log_p, after[:, : engine.weights]))
    assert results[0][0].equal(results[1][0])
    torch.testing.assert_close(results[0][1:], results[1][1:], atol=1e-4, rtol=0)

"""Language models as students: what they compute is what transformers and PEFT compute, and lessons change them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from kdgym import random
from kdgym.students import Batch, make_students
from kdgym.students.language.options import LanguageOptions
from kdgym.students.language.packing import pack
from kdgym.students.language.students import LanguageStudents
from kdgym.tasks import make_task
from kdgym.tasks.examination import draw_items
from tests.benchmarks.language import packed_padding
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow

STUDENTS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def make(model: Path, **options: Any) -> LanguageStudents:
    return LanguageStudents(str(model), make_task("Math"), LanguageOptions.parse({"rank": 4, **options}))


@pytest.fixture(scope="module")
def engine(model: Path) -> LanguageStudents:
    return make(model)


@pytest.fixture(scope="module")
def lesson() -> tuple[Tensor, Tensor]:
    task = make_task("Math")
    problem = draw_items(task, "train", torch.arange(STUDENTS), 12)
    order = torch.stack([torch.arange(problem.shape[1]).view(-1, 12).T.flatten()] * STUDENTS)
    problem = problem.gather(1, order)[:, :160]  # every skill in turn
    return problem, task.solution[problem]


@pytest.fixture(scope="module")
def taught(engine: LanguageStudents, lesson: tuple[Tensor, Tensor]) -> Tensor:
    """Students who already differ from the base and from each other."""
    state = engine.initialise(torch.arange(STUDENTS))
    engine.train(state, Batch(*(part[:, :32] for part in lesson), torch.full((STUDENTS,), 32)))
    return state


def peft_model(model: Path, engine: LanguageStudents, student: Tensor, folder: Path) -> Any:
    engine.export(student, folder)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), folder, is_trainable=True)


def plain_loss(model: Any, prompt: list[int], answer: list[int]) -> Tensor:
    """Nats an answer token, of one item alone, as everybody computes it."""
    tokens = torch.tensor([[*prompt, *answer]])
    labels = torch.tensor([[-100] * len(prompt) + list(answer)])
    loss: Tensor = model(tokens, labels=labels).loss
    return loss


# --- what is computed --------------------------------------------------------------------------------------------------


def test_losses_are_those_of_each_item_alone_under_peft(
    model: Path, engine: LanguageStudents, taught: Tensor, lesson: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    problem = lesson[0][:, 40:60]
    _, loss = engine.evaluate(taught, problem)
    for i in range(STUDENTS):
        reference = peft_model(model, engine, taught[i], tmp_path / str(i))
        items = engine.prompts.items(problem[i].tolist(), engine.solution[problem[i]].tolist())
        expected = torch.stack([plain_loss(reference, *item) for item in items])
        torch.testing.assert_close(loss[i], expected, atol=1e-4, rtol=1e-4)


def test_answers_are_those_of_generate_with_left_padding(
    model: Path, engine: LanguageStudents, taught: Tensor, lesson: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    problem = lesson[0][:, 60:80]
    said = engine.decode(taught, problem)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    for i in range(STUDENTS):
        reference = peft_model(model, engine, taught[i], tmp_path / str(i))
        chats = [[{"role": "user", "content": engine.task.text(p)}] for p in problem[i].tolist()]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        inputs.pop("token_type_ids", None)
        out = reference.generate(**inputs, max_new_tokens=engine.answer_width, do_sample=False)
        expected = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert engine.text_of(said[i]) == expected


def test_verdicts_are_the_tasks_own(model: Path) -> None:
    """Three problems are learned by heart; then greedy answers, the verifier and the verdicts agree, on right and wrong."""
    engine = make(model, learning_rate=1e-2, rank=8)
    problem = draw_items(engine.task, "train", torch.arange(1), 1)[:, :6]
    state = engine.initialise(torch.arange(1))
    learned = problem[:, :3].repeat(1, 160)
    engine.train(state, Batch(learned, engine.solution[learned], torch.tensor([learned.shape[1]])))
    right, _ = engine.evaluate(state, problem)
    texts = engine.text_of(engine.decode(state, problem)[0])
    assert right[0].tolist() == [engine.task.verify(p, t) for p, t in zip(problem[0].tolist(), texts, strict=True)]
    assert right[0, :3].all()
    assert not right[0, 3:].all()


def test_an_answer_that_is_right_in_other_words_counts(engine: LanguageStudents) -> None:
    problem = draw_items(engine.task, "validation", torch.arange(1), 1)[0, :2]
    said = torch.full((2, engine.answer_width), engine.prompts.end)
    for i, p in enumerate(problem.tolist()):
        text = f" 0{engine.task.answer_text(int(engine.solution[p]))}\n" if i == 0 else "dunno"
        tokens = engine.prompts.answer(text)
        said[i, : len(tokens)] = torch.tensor(tokens)
    assert engine.judge(problem, said).tolist() == [True, False]


def test_free_form_answers_are_verified_by_the_task(model: Path) -> None:
    """Formulas by math-verify, palindromes of the given letters by what is asked for."""
    champ = LanguageStudents(str(model), make_task("CHAMP"))
    diagonals = next(p for p in range(99) if champ.task.answer_text(p) == "Answer: n(n-3)/2")
    assert verdicts(champ, diagonals, "So:\nAnswer: $(n^2 - 3n)/2$", "Answer: n(n-3)", "n(n-3)/2 or so") == [1, 0, 0]
    reasoning = LanguageStudents(str(model), make_task("Reasoning", datasets="palindrome_generation", items=64))
    listed = [reasoning.task.answer_text(int(answer)) for answer in reasoning.solution]
    problem, word = next((p, word) for p, word in enumerate(listed) if len(word) > 5 and len(set(word)) > 2)
    half = word[: len(word) // 2][::-1]
    other = half + word[len(half) : -len(half)] + half[::-1]
    assert other != word
    assert verdicts(reasoning, problem, other, word[::-1], word[1:], f"It is {word}") == [1, 1, 0, 0]


def verdicts(students: LanguageStudents, problem: int, *texts: str) -> list[int]:
    said = [students.prompts.answer(text) for text in texts]
    width = max(map(len, said))
    tokens = torch.tensor([one + [students.prompts.end] * (width - len(one)) for one in said])
    return [int(right) for right in students.judge(torch.full((len(texts),), problem), tokens)]


def test_logits_and_features_are_transformers_own(
    model: Path, engine: LanguageStudents, taught: Tensor, lesson: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Of answers that are not the listed solutions, over more items than fit into a pass."""
    problem, answer = (part[:, :40] for part in lesson)
    answer = answer.roll(1, dims=1)
    alone = peft_model(model, engine, taught[1], tmp_path)
    logits = engine.logits(taught, problem, answer)
    features = [engine.features(taught, problem, layer, answer) for layer in range(3)]
    items = engine.prompts.items(problem[1].tolist(), answer[1].tolist())
    assert logits.shape[2] == max(len(a) for _, a in items) and not logits.requires_grad
    for i in (0, 17, 39):
        p, a = items[i]
        output = alone(torch.tensor([p + a]), output_hidden_states=True)
        torch.testing.assert_close(logits[1, i, : len(a)], output.logits[0, len(p) - 1 : -1], atol=1e-4, rtol=0)
        assert (logits[1, i, len(a) :] == 0).all()
        for layer, found in enumerate(features):
            expected = output.hidden_states[layer][0, len(p) - 1 : -1]
            torch.testing.assert_close(found[1, i, : len(a)], expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no layer 3; choose from 0 to 2"):
        engine.features(taught, problem, 3)


# --- what is learned ---------------------------------------------------------------------------------------------------


def test_a_student_of_a_population_learns_as_a_peft_adapter_does(
    model: Path, engine: LanguageStudents, lesson: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Twenty steps of PEFT and torch.optim.AdamW on padded batches from the same initial weights: losses equal to 1e-4."""
    c, (problem, answer) = engine.options, lesson
    state = engine.initialise(torch.arange(STUDENTS))
    reference = peft_model(model, engine, state[1], tmp_path)
    optimiser = torch.optim.AdamW(
        [p for p in reference.parameters() if p.requires_grad],
        lr=c.learning_rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=c.weight_decay,
    )  # fmt: skip
    losses = engine.train(state, Batch(problem, answer, torch.full((STUDENTS,), 160)))
    expected = []
    for begin in range(0, 160, c.batch):
        part = slice(begin, begin + c.batch)
        items = engine.prompts.items(problem[1, part].tolist(), answer[1, part].tolist())
        loss = padded_losses(reference, items)
        expected.append(loss.detach())
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    assert len(expected) == 20
    torch.testing.assert_close(losses[1], torch.cat(expected), atol=1e-4, rtol=0)
    assert (losses[1, -40:].mean() < losses[1, :40].mean() - 0.1).item()  # and something was learned


def padded_losses(model: Any, items: list[tuple[list[int], list[int]]]) -> Tensor:
    longest = max(len(p) + len(a) for p, a in items)
    tokens, labels = torch.zeros(len(items), longest, dtype=torch.int64), torch.full((len(items), longest), -100)
    mask = torch.zeros_like(tokens)
    for i, (p, a) in enumerate(items):
        tokens[i, : len(p) + len(a)] = torch.tensor([*p, *a])
        labels[i, len(p) : len(p) + len(a)] = torch.tensor(a)
        mask[i, : len(p) + len(a)] = 1
    logits = model(tokens, attention_mask=mask).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=-100)
    return loss.sum(1) / (labels[:, 1:] != -100).sum(1)


@pytest.mark.parametrize("soft", [False, True])
def test_weights_and_soft_targets_are_torchs(
    model: Path, engine: LanguageStudents, lesson: tuple[Tensor, Tensor], tmp_path: Path, soft: bool
) -> None:
    """Of answers of different lengths, in mini-batches of which the last is not full."""
    c, (problem, answer) = engine.options, (part[:, :12] for part in lesson)
    weight = torch.tensor([0.0, 1.0, 2.5]).repeat(4).expand(STUDENTS, -1)
    items = engine.prompts.items(problem[1].tolist(), answer[1].tolist())
    longest, vocabulary = max(len(a) for _, a in items), engine.model.config.vocab_size
    numbers = random.uniform(torch.arange(STUDENTS), 12 * longest * vocabulary).view(STUDENTS, 12, longest, vocabulary)
    target = torch.softmax(5 * numbers, dim=-1).float()
    state = engine.initialise(torch.arange(STUDENTS))
    reference = peft_model(model, engine, state[1], tmp_path)
    batch = Batch(problem, answer, torch.tensor([12, 12, 5]), weight, target if soft else None)
    losses, expected = engine.train(state, batch), []
    optimiser = torch.optim.AdamW(
        [p for p in reference.parameters() if p.requires_grad],
        lr=c.learning_rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=c.weight_decay,
    )  # fmt: skip
    for begin in range(0, 12, c.batch):
        mine = []
        for (p, a), q in zip(items[begin : begin + c.batch], target[1, begin:], strict=False):
            logits = reference(torch.tensor([p + a])).logits[0, len(p) - 1 : -1]
            wanted = q[: len(a)] if soft else torch.tensor(a)
            mine.append(torch.nn.functional.cross_entropy(logits, wanted))
        loss = torch.stack(mine)
        expected.append(loss.detach())
        optimiser.zero_grad()
        (loss * weight[1, begin : begin + c.batch]).mean().backward()
        optimiser.param_groups[0]["lr"] = c.learning_rate * len(mine) / c.batch
        optimiser.step()
    torch.testing.assert_close(losses[1], torch.cat(expected), atol=1e-4, rtol=0)
    after = peft_model(model, engine, state[1], tmp_path / "after")
    for one, other in zip(after.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=0)


def test_soft_targets_without_room_for_the_answers_are_refused(
    engine: LanguageStudents, lesson: tuple[Tensor, Tensor]
) -> None:
    batch = Batch(*(part[:, :12] for part in lesson), torch.full((STUDENTS,), 12))
    state, vocabulary = engine.initialise(torch.arange(STUDENTS)), engine.model.config.vocab_size
    before, room = state.clone(), torch.full((STUDENTS, 12, 1, vocabulary), 1 / vocabulary)
    with pytest.raises(ValueError, match=rf"soft is .*; expected float \[3, 12, \d+, {vocabulary}\]"):
        engine.train(state, replace(batch, soft=room))
    with pytest.raises(ValueError, match="finite and at least 0"):
        engine.train(state, replace(batch, weight=torch.full((STUDENTS, 12), -1.0)))
    assert torch.equal(state, before)


def test_the_base_is_left_as_it_was(model: Path, lesson: tuple[Tensor, Tensor]) -> None:
    engine = make(model)
    before = [p.clone() for p in engine.model.parameters()]
    engine.train(engine.initialise(torch.arange(1)), Batch(*(part[:1, :16] for part in lesson), torch.tensor([16])))
    assert all(torch.equal(a, b) for a, b in zip(before, engine.model.parameters(), strict=True))
    assert not any(p.requires_grad for p in engine.model.parameters())


@pytest.mark.parametrize(
    "options", [{"gradient_checkpointing": True}, {"most_tokens": 700}], ids=["checkpointing", "in groups"]
)
def test_saving_memory_changes_nothing(
    model: Path, engine: LanguageStudents, lesson: tuple[Tensor, Tensor], options: dict[str, Any]
) -> None:
    states = []
    for students in (engine, make(model, **options)):
        state = students.initialise(torch.arange(STUDENTS))
        losses = students.train(state, Batch(*(part[:, :24] for part in lesson), torch.full((STUDENTS,), 24)))
        states.append((losses, *students.evaluate(state, lesson[0][:, :10])))
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_checkpointing_keeps_less_for_the_backward_pass(model: Path, lesson: tuple[Tensor, Tensor]) -> None:
    """How many numbers autograd saves in one update."""
    kept = [0, 0]

    def keep(tensor: Tensor) -> Tensor:
        kept[on] += tensor.numel()
        return tensor

    for on in (False, True):
        students = make(model, gradient_checkpointing=on)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            students.train(
                students.initialise(torch.arange(1)), Batch(*(part[:1, :8] for part in lesson), torch.tensor([8]))
            )
    assert 0 < kept[1] < kept[0] / 2


def test_items_beyond_the_count_are_ignored(engine: LanguageStudents, lesson: tuple[Tensor, Tensor]) -> None:
    problem, answer = (part[:, :20] for part in lesson)
    state = engine.initialise(torch.arange(STUDENTS))
    before = state.clone()
    losses = engine.train(state, Batch(problem, answer, torch.tensor([0, 5, 20])))
    assert torch.equal(state[0], before[0])
    assert (losses > 0).sum(1).tolist() == [0, 5, 20]
    assert state[:, -1].tolist() == [0, 1, 3]
    alone = engine.initialise(torch.tensor([1]))
    engine.train(alone, Batch(problem[1:2, :5], answer[1:2, :5], torch.tensor([5])))
    torch.testing.assert_close(alone[0], state[1], atol=1e-5, rtol=0)


def test_bfloat16_students_learn_nearly_the_same(model: Path, engine: LanguageStudents, lesson: Any) -> None:
    half = make_students("hf:" + str(model), engine.task, "cpu", dtype="bfloat16", options={"rank": 4})
    losses = []
    for students in (engine, half):
        state = students.initialise(torch.arange(STUDENTS))
        losses.append(students.train(state, Batch(*(part[:, :80] for part in lesson), torch.full((STUDENTS,), 80))))
        assert state.dtype == torch.float32
    assert (losses[1] - losses[0]).abs().mean() < 0.05 < losses[0][:, :8].mean() - losses[0][:, -8:].mean()


# --- packing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Math", "Code"])
def test_less_than_a_fifth_is_padding(model: Path, name: str) -> None:
    """Eight students, batches of eight random items."""
    assert 0 < packed_padding(LanguageStudents(str(model), make_task(name))) < 0.2


def test_what_prompts_share_is_read_once(engine: LanguageStudents) -> None:
    items = engine.prompts.items([0, 1, 2], engine.solution[:3].tolist())
    packed = pack([items])
    assert packed.used < sum(len(p) + len(a) for p, a in items) - 2 * len("system\nBe brief.")
    assert pack([items[:1]]).used == len(items[0][0]) + len(items[0][1]) - 1


# --- PEFT's format -----------------------------------------------------------------------------------------------------


def test_an_adapter_made_by_peft_becomes_a_student(model: Path, engine: LanguageStudents, tmp_path: Path) -> None:
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    adapted.save_pretrained(tmp_path)
    state = engine.load(tmp_path).unsqueeze(0)
    items = engine.prompts.items([5, 500], engine.solution[[5, 500]].tolist())
    _, loss = engine.evaluate(state, torch.tensor([[5, 500]]))
    expected = torch.stack([plain_loss(adapted, *item) for item in items])
    torch.testing.assert_close(loss[0], expected, atol=1e-4, rtol=1e-4)


def test_export_and_import_give_the_same_weights(engine: LanguageStudents, taught: Tensor, tmp_path: Path) -> None:
    engine.export(taught[2], tmp_path)
    assert torch.equal(engine.load(tmp_path)[: engine.weights], taught[2, : engine.weights])
    assert not engine.load(tmp_path)[engine.weights :].any()


def test_adapters_that_do_not_fit_are_refused(
    model: Path, engine: LanguageStudents, taught: Tensor, tmp_path: Path
) -> None:
    engine.export(taught[0], tmp_path)
    with pytest.raises(ValueError, match=r"r=4.*rank=2"):
        make(model, rank=2).load(tmp_path)
    with pytest.raises(ValueError, match="other layers"):
        make(model, target_modules=("q_proj", "v_proj")).load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json"):
        engine.load(tmp_path / "nowhere")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="damaged"):
        engine.load(tmp_path)


# --- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "options", "message"),
    [
        ("hf:{model}", "VQA", {}, "shows pictures"),
        ("hf:{model}", "Math", {"rank": 0}, "rank=0"),
        ("hf:{model}", "Math", {"ranks": 4}, "Known settings"),
        ("hf:{model}", "Math", {"target_modules": ["q_prj"]}, "choose from.*q_proj"),
        ("hf:/no/such/directory", "Math", {}, "cannot be loaded"),
        ("transformer", "Math", {"rank": 4}, "Known settings: width"),
        ("lstm", "Math", {}, "hf:MODEL"),
    ],
)
def test_what_cannot_be_is_said(model: Path, name: str, task: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_students(name.format(model=model), make_task(task), "cpu", options=options)


def test_tiny_students_learn_in_float32() -> None:
    with pytest.raises(ValueError, match="float32"):
        make_students("transformer", make_task("Math"), "cpu", dtype="bfloat16")


@pytest.mark.parametrize(("window", "message"), [(16, "side by side differently"), (90, "sliding window of 90")])
def test_models_that_do_not_see_a_whole_item_are_refused(
    model: Path, tmp_path: Path, lesson: tuple[Tensor, Tensor], window: int, message: str
) -> None:
    """A sliding window is shorter than the first prompts, or than later ones."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = MistralConfig(
        **sizes,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        eos_token_id=2,
        sliding_window=window,
        initializer_range=0.2,  # with the usual 0.02 what it does not see moves its logits by the tolerance, more or less
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        make(tmp_path).evaluate(torch.zeros(1, 0), lesson[0][:1])


def test_a_server_that_is_not_there_is_said(model: Path) -> None:
    with pytest.raises(ConnectionError, match="no vLLM server"):
        make(model, backend="vllm", base_url="http://127.0.0.1:9/v1")

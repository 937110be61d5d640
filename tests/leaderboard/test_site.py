"""The site: what a browser makes of it, and whether it is the records'."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from kdgym.evaluation import load_agent
from kdgym.leaderboard.badges import KEY, Finding, award
from kdgym.leaderboard.card import freeze
from kdgym.leaderboard.record import AgentCard, Disclosures, Record
from kdgym.leaderboard.site import build_site
from kdgym.leaderboard.submit import board_seeds, make_record, open_board, record_lessons

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHOOSER = """
import numpy as np


class Agent:
    actions = "discrete"

    def __init__(self, observation_space, action_space, seed=0):
        self.width = action_space.shape[0]

    def act(self, observation):
        return np.zeros((len(observation["time"]), self.width), dtype=np.int64)
"""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


HOSTILE = "</script><script>alert(1)</script><!--<b>\u2028]]>"


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four verified rows, a disputed one, a claim full of markup, a person, and a site."""
    folder = tmp_path_factory.mktemp("boards")
    rows: list[tuple[str, Any]] = [
        ("uniform", "control"),
        ("no teaching", "control"),
        ("informed", "oracle"),
        ("adaptive_source", "rule"),
    ]
    records = [verified(make_record(ID, name, name, ["kdgym"], kind=kind)) for name, kind in rows]
    honest = make_record(ID, "target_proportional", "Too-good-(to-be true)", ["Eve O'Neil"])
    records.append(verified(honest, Finding(False, "gain is +0.01, <b>not</b> +0.40", 0.4, 0.01, 32)))
    disclosed = Disclosures(training=HOSTILE, notes=HOSTILE)
    claim = make_record(ID, "target_proportional", "www.evil.com x@evil.com", ["O'(b"], disclosures=disclosed)
    strange = claim.conditions.model_copy(update={"processor": HOSTILE, "device": HOSTILE})
    code = claim.agent.model_copy(update={"source": HOSTILE, "sha256": hashlib.sha256(HOSTILE.encode()).hexdigest()})
    records.append(claim.model_copy(update={"conditions": strange, "agent": code}))
    card = AgentCard(name="by hand", authors=["Ada"], kind="human", source=None, sha256=None)
    envs = open_board(ID, 2, {})
    records.append(record_lessons(ID, envs, load_agent("random", envs, seed=0), card, board_seeds(ID)[:2]))
    for record in records:
        record.save(folder / ID / record.file_name())
    (folder / "verifiers.json").write_text(json.dumps({records[0].badges[0].verifier: "this test"}))
    freeze(folder, [ID])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdgym.leaderboard.site.open_board", None)  # the card has all that pages need
        build_site(folder)
    return folder


def verified(record: Record, *second: Finding) -> Record:
    """Signed by this test's verifier: level 1 passed, and what level 2 found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, "ab" * 32)
        for level, finding in enumerate((Finding(True, "replayed"), *second), 1):
            record = award(record, level, finding)
        return record


@pytest.fixture(scope="module")
def page(boards: Path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page()
        page.on("console", lambda message: pytest.fail(f"the page says {message.text}"))
        page.on("pageerror", lambda error: pytest.fail(f"the page fails: {error}"))
        page.on(
            "request", lambda asked: asked.url.startswith(("file:", "data:")) or pytest.fail(f"asks for {asked.url}")
        )
        yield page
        browser.close()


@pytest.fixture
def index(page: Page, boards: Path) -> Page:
    page.goto((boards / "site" / "index.html").as_uri())
    return page


def column(page: Page, number: int) -> list[str]:
    cells = page.locator(f"table:not(.persons) tbody tr:visible td:nth-child({number})").all_inner_texts()
    return [cell.strip() for cell in cells]


@needs_browser
def test_a_click_sorts_and_a_second_one_turns_it_around(index: Page) -> None:
    scores = [float(text) for text in column(index, 4)]
    assert scores != sorted(scores, reverse=True)  # a row whose new students gained less stands lower than it claims
    index.get_by_role("button", name="score").click()
    assert [float(text) for text in column(index, 4)] == sorted(scores)
    assert index.locator("th[aria-sort=ascending]").inner_text().startswith("score")
    index.get_by_role("button", name="score").press("Enter")  # by keyboard
    assert [float(text) for text in column(index, 4)] == sorted(scores, reverse=True)
    index.get_by_role("button", name="teacher ↕").click()
    assert column(index, 2)[0].startswith("adaptive_source")


@needs_browser
def test_rows_are_found_by_name_and_by_kind(index: Page) -> None:
    index.get_by_label("Find").fill("NEIL")
    assert [text.split()[0] for text in column(index, 2)] == ["Too-good-(to-be"]
    index.get_by_label("Find").fill("")
    index.get_by_label("Kind").select_option("control")
    assert set(column(index, 3)) == {"control"}
    assert len(column(index, 3)) == 2


@needs_browser
def test_two_are_compared_on_the_same_students(index: Page, boards: Path) -> None:
    index.get_by_label("The first").select_option(label="informed, kdgym")
    index.get_by_label("The second").select_option(label="uniform, kdgym")
    scores = [
        np.array(Record.model_validate_json((boards / ID / f"{name}--kdgym.json").read_bytes()).outcome.after)
        for name in ("informed", "uniform")
    ]
    said = index.get_by_role("status")
    expect(said).to_contain_text(f"informed minus uniform: +{(scores[0] - scores[1]).mean():.3f} [")
    expect(said).to_contain_text("paired over 3 students")


@needs_browser
def test_boards_far_down_are_compared_when_somebody_gets_there(page: Page, tmp_path: Path) -> None:
    for task, name in itertools.product(("Math", "Code", "VQA"), ("uniform", "no teaching")):
        record = make_record(f"kdgym/DataGen-{task}-v0", name, name, ["kdgym"], kind="control")
        record.save(tmp_path / record.env_id / record.file_name())
    page.goto(build_site(tmp_path).as_uri())
    last = page.locator("section[data-board]").last
    expect(page.get_by_role("status").first).to_contain_text("paired over")
    expect(last.get_by_role("status")).to_be_empty()
    last.scroll_into_view_if_needed()
    expect(last.get_by_role("status")).to_contain_text("paired over")


@needs_browser
def test_a_disputed_row_is_struck_through_with_the_reason_and_no_markup_of_strangers_works(index: Page) -> None:
    row = index.locator("tr.disputed")
    assert "line-through" in row.locator("td.who").evaluate("cell => getComputedStyle(cell).textDecoration")
    assert "<b>not</b>" in row.inner_text()
    assert index.locator("td b").count() == 0


@needs_browser
def test_claims_have_no_rank_and_persons_a_table_of_their_own(index: Page) -> None:
    ranks, kinds, words = column(index, 1), column(index, 3), column(index, 13)
    assert len(ranks) == 6
    assert [rank for rank, kind in zip(ranks, kinds, strict=True) if kind == "oracle"] == ["*"]
    assert ranks[words.index("claimed")] == "-"
    assert sum(rank.isdigit() for rank in ranks) == 4
    assert "human" not in kinds
    choices = index.get_by_label("The first").locator("option")
    assert [text.split(", ")[0] for text in choices.all_inner_texts() if text.endswith(", claimed")] == [
        "www.evil.com x@evil.com", "by hand",
    ]  # fmt: skip
    assert not index.get_by_label("The first").locator("option:checked").inner_text().endswith("claimed")
    person = index.locator("table.persons tbody tr")
    assert re.sub(r"\s+", " ", person.inner_text()).startswith("by hand Ada 2 ")


@needs_browser
def test_pages_allow_their_own_script_only(index: Page, boards: Path) -> None:
    """Strangers' words are there, as words; a script that is not the page's does not run."""
    for name in ("index.html", f"{ID}/www-evil-com-x-evil-com--o-b.html"):
        index.goto((boards / "site" / name).as_uri())
        policy = index.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content") or ""
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy.partition("script-src")[2]
        scripts = index.locator("script").count()
        assert scripts == (2 if name == "index.html" else 0)
        assert index.get_by_role("link", name="evil.com", exact=True).count() == 0
    expect(index.locator("dl")).to_contain_text("</script><script>alert(1)</script><!--<b>")
    browser = index.context.browser
    assert browser is not None
    other = browser.new_page()  # which may complain
    other.goto(index.url.replace(f"{ID}/www-evil-com-x-evil-com--o-b.html", "index.html"))
    expect(other.get_by_role("status")).to_contain_text("paired over")
    other.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert other.evaluate("window.ran") is None
    other.close()


@needs_browser
def test_every_row_has_a_page_with_code_ledger_and_lesson(index: Page) -> None:
    index.get_by_role("link", name="adaptive_source").click()
    # Waits for what is expected: the page may not be all there yet.
    expect(index.get_by_role("heading", level=1)).to_have_text("adaptive_source")
    expect(index.locator("pre")).to_contain_text("class Agent")
    expect(index.get_by_role("table")).to_contain_text("student training")
    expect(index.get_by_role("img", name=re.compile("adaptive_source decided over the lesson: add"))).to_have_count(1)
    index.get_by_role("link", name="All boards").click()
    expect(index.get_by_role("heading", level=1)).to_have_text("kdgym leaderboards")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(index: Page, boards: Path, scheme: Any, width: int) -> None:
    index.emulate_media(color_scheme=scheme)
    index.set_viewport_size({"width": width, "height": 900})
    for name in ("index.html", f"{ID}/adaptive-source--kdgym.html"):
        index.goto((boards / "site" / name).as_uri())
        found = Axe().run(index)
        assert found.violations_count == 0, found.generate_report()
        assert index.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
        fits = index.evaluate("[...document.querySelectorAll('.scroll')].every(it => it.scrollWidth <= it.clientWidth)")
        assert fits or width < 1280, "a table scrolls sideways"


def test_equal_records_make_equal_sites(boards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    shutil.copytree(boards, folder)
    before = {path: path.read_bytes() for path in sorted((folder / "site").rglob("*.html"))}
    build_site(folder)
    assert {path: path.read_bytes() for path in sorted((folder / "site").rglob("*.html"))} == before


def test_choices_are_drawn_by_entry(tmp_path: Path) -> None:
    """Whoever teaches by numbered choices gets a page too."""
    chooser = tmp_path / "chooser.py"
    chooser.write_text(CHOOSER)
    record = make_record("kdgym/Orchestrate-Incidents-v0", str(chooser), "chooser", ["Ada"])
    control = make_record("kdgym/Orchestrate-Incidents-v0", "always_auto", "always_auto", ["kdgym"], kind="control")
    for row in (record, control):
        row.save(tmp_path / "boards" / row.env_id / row.file_name())
    build_site(tmp_path / "boards")
    page = tmp_path / "boards" / "site" / record.env_id / record.file_name().replace(".json", ".html")
    assert "chooser decided over the lesson: entry 0, entry 1, entry 2" in page.read_text()

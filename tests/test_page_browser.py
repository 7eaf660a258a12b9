"""The page of a run in a real Chromium: filters, sound, escaping, themes, a phone, no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_browser import open_browser, phone
from page_run import FAMILIES, HOSTILE, write_run

from routerlab.cli import main

pytest.importorskip("selenium", reason="selenium is in the extra `test`")
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    pytest.skip(
        "Chromium is not here: apt-get install chromium chromium-driver", allow_module_level=True
    )

QUESTIONS = 60


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain page, one whose every text is hostile, one with its clips beside it."""
    home, made = tmp_path_factory.mktemp("pages"), {}
    for name, spice, words in (
        ("plain", "", ()),
        ("hostile", HOSTILE, ()),
        ("beside", "", ("--audio", "beside")),
    ):
        run = write_run(home / name / "001", QUESTIONS, spice)
        assert main(["report", str(run), *words]) == 0
        made[name] = run / "report.html"
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[[str], Any]]:
    """Opens a page; when the test is over, the console must have stayed silent."""

    def opened(name: str) -> Any:
        browser.get(pages[name].as_uri())
        return browser

    browser.get_log("browser")
    yield opened
    assert browser.get_log("browser") == []


def choose(browser: Any, select: str, value: str) -> list[str]:
    """Set a filter; the questions' texts that are then in the list, and how many are counted."""
    script = """
        const it = document.getElementById(arguments[0]);
        it.value = arguments[1];
        it.dispatchEvent(new Event(it.type === "search" ? "input" : "change"));
        return document.getElementById("count").textContent;
    """
    said: str = browser.execute_script(script, select, value)
    return said.split(" of ")


def click(browser: Any, what: str) -> None:
    """By script: the page scrolls smoothly, and a pointer would meet what passes under it."""
    browser.execute_script("document.querySelector(arguments[0]).click()", what)


def listed(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('#list .row')].map((row) => row.innerText)"
    rows: list[str] = browser.execute_script(script)
    return rows


def wait(browser: Any, script: str, seconds: float = 20) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds).until(lambda it: it.execute_script(f"return {script}"))


def test_filters_leave_what_they_say(show: Callable[[str], Any]) -> None:
    page = show("plain")
    assert choose(page, "find", "")[0] == str(QUESTIONS)
    assert choose(page, "by-category", "tempo")[0] == str(QUESTIONS // len(FAMILIES))
    assert all("Which tempo" in row for row in listed(page))
    choose(page, "by-category", "")
    assert 0 < int(choose(page, "by-action", "chord")[0]) < QUESTIONS
    assert all("chord " in row for row in listed(page))
    choose(page, "by-action", "")
    fixed = int(choose(page, "by-outcome", "fix")[0])
    assert 0 < fixed < QUESTIONS
    assert all("fixed" in row for row in listed(page))
    choose(page, "by-outcome", "")
    assert choose(page, "find", "clip 17")[0] == "1"
    assert "clip 17?" in page.find_element("id", "detail").text
    assert choose(page, "find", "no such words")[0] == "0"
    assert page.find_element("id", "detail").text == "No question fits all filters."
    click(page, "#filters button[type=reset]")
    wait(page, f"document.getElementById('count').textContent.startsWith('{QUESTIONS} ')")
    assert choose(page, "by-split", "ood")[0] == str(QUESTIONS // 2)


@pytest.mark.parametrize("where", ["plain", "beside"])
def test_a_clip_plays_and_is_drawn(show: Callable[[str], Any], where: str) -> None:
    page = show(where)
    wait(page, "document.querySelector('.clip')?.dataset.ready === 'yes'")
    page.execute_script("document.querySelector('audio').play()")
    wait(page, "document.querySelector('audio').currentTime > 0.05")
    assert page.execute_script("return document.querySelector('audio').readyState") >= 2
    inks = """
        const it = document.querySelector('.clip canvas');
        const data = it.getContext('2d').getImageData(0, 0, it.width, it.height).data;
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(String(data.slice(i, i + 3)));
        return seen.size;
    """
    assert page.execute_script(inks) > 20


def test_nothing_from_data_runs_or_becomes_an_element(show: Callable[[str], Any]) -> None:
    count = "return document.querySelectorAll('script').length"
    plain = show("plain").execute_script(count)
    page = show("hostile")
    wait(page, "document.querySelector('.clip')?.dataset.ready === 'yes'")
    for index in (0, 1, 2, 3):
        page.execute_script("document.querySelectorAll('#list .row')[arguments[0]].click()", index)
    for details in page.find_elements("css selector", "details"):
        page.execute_script("arguments[0].open = true", details)
    shown = page.find_element("id", "detail").text
    assert shown.count("<script>window.hit=") > 8
    assert page.execute_script("return window.hit ?? null") is None
    assert page.execute_script("return document.querySelectorAll('img, #hit').length") == 0
    assert page.execute_script(count) == plain


def test_light_and_dark_by_the_system_and_by_the_button(show: Callable[[str], Any]) -> None:
    page = show("plain")
    seen = []
    for theme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen.append(_light(page))
    click(page, "#theme")
    seen.append(_light(page))
    page.execute_script("localStorage.clear()")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert seen[0] > 200 > 60 > seen[1]
    assert seen[2] == seen[0]


def _light(page: Any) -> float:
    """How bright the paper is, 0 to 255."""
    colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    parts = [float(part) for part in colour.strip("rgb()").split(",")]
    return sum(parts) / 3


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_a_phone_shows_all_of_it(show: Callable[[str], Any], name: str) -> None:
    page = show(name)
    with phone(page):
        show(name)
        assert _wide(page) == 390
        click(page, "#list .row")
        wait(page, "document.querySelector('.clip')?.dataset.ready === 'yes'")
        assert page.execute_script("return document.querySelector('#detail').clientWidth") == 390
        inner = "return document.querySelector('#detail').scrollWidth"
        assert page.execute_script(inner) == 390
        assert _wide(page) == 390
        click(page, ".back")
        assert not page.find_element("id", "detail").is_displayed()


def _wide(page: Any) -> int:
    width: int = page.execute_script("return document.documentElement.scrollWidth")
    return width


def test_the_page_asks_for_nothing(show: Callable[[str], Any]) -> None:
    page = show("plain")
    wait(page, "document.querySelector('.clip')?.dataset.ready === 'yes'")
    script = "return performance.getEntriesByType('resource').map((it) => it.name)"
    assert [it for it in page.execute_script(script) if not it.startswith("blob:")] == []

"""The page in a headless Chromium, from a file, as a reader opens it."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.report.page import render
from ffe_lakehouse_tests.dev_server import wait_until
from ffe_lakehouse_tests.report.conftest import DAYS, excerpts

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no chromium and chromedriver on the PATH",
    ),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update"
)
WIDTHS = (1400, 420)
PLOTS = "[...document.querySelectorAll('.plot svg.main-svg')]"
LINE = "document.querySelector('.plot .js-line')"
WIDEST = f"Math.max(...{PLOTS}.map(plot => plot.getBoundingClientRect().right))"


@pytest.fixture(scope="module")
def address(desk: DeltaLakeManager, tmp_path_factory: pytest.TempPathFactory) -> str:
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(render(excerpts(desk, 0, DAYS - 1), datetime(2024, 3, 1, tzinfo=UTC)))
    return page.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def look(browser: Any, address: str, width: int = 1400, scheme: str = "light") -> None:
    """Open the page in a window of this width, and wait until all plots are drawn."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    browser.get_log("performance")
    browser.get(address)
    wait_until(lambda: ask(browser, "document.documentElement.dataset.drawn"))


def ask(browser: Any, expression: str) -> Any:
    return browser.execute_script(f"return {expression}")


def requests(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_all_is_drawn_within_the_page_and_without_a_word(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    look(browser, address, width, scheme)
    # Console messages of the page before are not of this one.
    assert browser.get_log("browser") == []
    plots = ask(browser, "document.querySelectorAll('.plot').length")
    assert plots > 20
    assert ask(browser, "document.querySelectorAll('.plot:has(svg.main-svg)').length") == plots
    empty = "[...document.querySelectorAll('.plot')].filter(p => !p.querySelector('path.point,"
    assert ask(browser, f"{empty} .js-line, .point path')).map(p => p.ariaLabel)") == []
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    assert ask(browser, WIDEST) <= width


def test_plots_follow_the_window(browser: Any, address: str) -> None:
    look(browser, address, 1400)
    screen = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wait_until(lambda: ask(browser, WIDEST) <= 420)


def test_nothing_is_asked_of_a_network(browser: Any, address: str) -> None:
    look(browser, address)
    assert requests(browser) == [address]
    assert ask(browser, "performance.getEntriesByType('resource').length") == 0


def test_a_dark_page_has_its_own_colours_and_follows_a_change(browser: Any, address: str) -> None:
    def colours() -> tuple[str, str]:
        page = ask(browser, "getComputedStyle(document.body).backgroundColor")
        return page, ask(browser, f"getComputedStyle({LINE}).stroke")

    look(browser, address, scheme="dark")
    assert colours() == ("rgb(18, 22, 28)", "rgb(86, 168, 224)")
    light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
    wait_until(lambda: colours() == ("rgb(255, 255, 255)", "rgb(0, 114, 178)"))


def test_a_header_leads_to_its_definition(browser: Any, address: str) -> None:
    look(browser, address)
    header = browser.find_element("xpath", "//section[@id='performance']//a[text()='Sharpe']")
    assert "standard deviation" in header.get_attribute("title")
    browser.execute_script("arguments[0].click()", header)
    target = browser.find_element("id", "mart_trading_performance.sharpe_ratio")
    wait_until(target.is_displayed)


def test_a_click_in_a_legend_hides_a_line_and_shows_it_again(browser: Any, address: str) -> None:
    look(browser, address)
    key = browser.find_element("xpath", "//button[@data-trace][text()='BTCUSD']")
    plot = key.get_attribute("data-plot")
    lines = f"document.querySelectorAll('#{plot} .js-line, #{plot} .barlayer .trace').length"
    before = ask(browser, lines)
    for pressed, expected in (("false", before - 1), ("true", before)):
        browser.execute_script("arguments[0].click()", key)
        assert key.get_attribute("aria-pressed") == pressed
        wait_until(lambda expected=expected: ask(browser, lines) == expected)


def test_a_script_in_the_data_is_not_run(browser: Any, address: str) -> None:
    look(browser, address)
    assert "alert('x')" in ask(browser, "document.body.innerText")
    # Even one that got into the page would not run.
    script = "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
    browser.execute_script(f"{script} document.body.append(s)")
    assert ask(browser, "window.ran ?? 0") == 0
    browser.get_log("browser")


def test_on_paper_it_is_light_and_whole(browser: Any, address: str) -> None:
    look(browser, address, scheme="dark")
    browser.execute_script(
        "addEventListener('beforeprint', () => { window.printed = ["
        f"getComputedStyle({LINE}).stroke,"
        f"{WIDEST} - document.querySelector('main').getBoundingClientRect().right]; }})"
    )
    assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    colour, beyond = ask(browser, "window.printed")
    assert colour == "rgb(0, 114, 178)"
    assert beyond <= 0
    # Back on the screen it is dark, and wide.
    wait_until(lambda: ask(browser, f"getComputedStyle({LINE}).stroke") == "rgb(86, 168, 224)")
    wait_until(lambda: ask(browser, WIDEST) > 1000)

"""The Dagster UI as ``ffe dev`` starts it, looked at with a headless Chromium."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse_tests.dev_server import FFE, environment, ffe_dev, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no chromium and chromedriver on the PATH",
    ),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update --window-size=1600,1400"
)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a UI in whose lake two days of one pair are."""
    folder = tmp_path_factory.mktemp("ui")
    env = environment(folder, simulated_faults__bad_rows="0.1", max_reject_ratio="1")
    days = ("--timeframes", "1m,1h", "--start", "2024-01-01", "--end", "2024-01-02")
    subprocess.run(  # noqa: S603 - our own script
        [FFE, "backfill", "--assets", "BTCUSD", *days], env=env, cwd=folder, check=True
    )
    with ffe_dev(folder, env) as dev:
        yield dev.address


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def elements(browser: Any, xpath: str) -> list[Any]:
    found: list[Any] = browser.find_elements("xpath", xpath)
    return found


def partition_page(table: str) -> str:
    return f"/assets/{table}?view=partitions&partition=BTCUSD%7C2024-01-02"


@pytest.mark.parametrize("timeframe", ["1h", "1m"])
def test_a_partition_shows_its_candles_as_a_picture(ui: str, browser: Any, timeframe: str) -> None:
    browser.get(ui + partition_page(f"bronze/raw_market_data_{timeframe}"))
    row = "//tr[td[contains(., 'candles')]]"
    # A short Markdown is shown in its cell, a long one behind a button.
    cell, button = f"{row}//img", f"{row}//*[contains(text(), 'Show Markdown')]"
    (found, *_) = wait_until(lambda: elements(browser, f"{cell} | {button}"))
    if found.tag_name != "img":
        browser.execute_script("arguments[0].click()", found)
    picture = "//img[starts-with(@src, 'data:image/svg+xml')]"
    (image, *_) = wait_until(lambda: elements(browser, picture))
    wait_until(lambda: browser.execute_script("return arguments[0].complete", image))
    # 0 if it cannot be drawn; and a picture without a width of its own would get none in a cell.
    assert browser.execute_script("return arguments[0].naturalWidth", image) > 0
    assert image.size["width"] > 100
    assert image.size["height"] > 30


def test_a_partition_of_the_dead_letters_shows_how_many_there_are(ui: str, browser: Any) -> None:
    browser.get(ui + partition_page("dlq/raw_market_data_1h"))
    wait_until(lambda: elements(browser, "//tr[td[contains(., 'rows_rejected')]]"))
    assert elements(browser, "//tr[td[contains(., 'reasons')]]")


def test_the_checks_of_a_table_are_listed(ui: str, browser: Any) -> None:
    browser.get(f"{ui}/assets/bronze/raw_market_data_1h?view=checks")
    for name in ("ohlc_rules", "conservation", "completeness"):
        wait_until(lambda name=name: elements(browser, f"//*[text()='{name}']"))

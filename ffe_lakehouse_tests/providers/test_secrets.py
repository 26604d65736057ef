"""A key leaves the process on the wire to its vendor, and nowhere else."""

import logging
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import pytest

from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import PairDays
from ffe_lakehouse.providers.base import Provider, ProviderError
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.doubles.faults import (
    BadNumber,
    Body,
    Fault,
    NoAnswer,
    Redirect,
    Reset,
    Status,
    TooManyRequests,
    Truncated,
)
from ffe_lakehouse_tests.doubles.harness import (
    CLASSES,
    NOW,
    PAIRS,
    ask,
    impatient,
    make,
    quick,
    simulated_market,
    stopped_clock,
)
from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.server import VendorDouble
from ffe_lakehouse_tests.doubles.vendor import Response, Vendor

CANARY = "canary+7f3a/9c51e2d84b06"
SPELLINGS = (CANARY, "canary%2B7f3a%2F9c51e2d84b06", "canary%2B7f3a/9c51e2d84b06", "9c51e2d84b06")
WINDOW = (datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC))
KEYED = [name for name in CLASSES if name not in ("coinbase", "yahoo")]


@dataclass(frozen=True)
class Echo(Fault):
    """The vendor repeats the key in a refusal, as Alpha Vantage does when a quota is spent."""

    code: int = 400

    def response(self, response: Response, vendor: Vendor) -> Response:  # noqa: ARG002
        """In the sentence, and in a header."""
        said = f"your key {CANARY} has spent its quota: see https://x.test/?apikey={SPELLINGS[1]}"
        body = orjson.dumps({"Information": said, "message": said, "errorMessage": said})
        return Response(self.code, body, {"X-Key": CANARY, "Retry-After": "1"})


@dataclass(frozen=True)
class KeyInLink(Fault):
    """The link to the next page names the key."""

    def response(self, response: Response, vendor: Vendor) -> Response:  # noqa: ARG002
        """At the vendor itself, and with a key of its own."""
        body = orjson.loads(response.body)
        if not isinstance(body, dict):
            return response
        link = f"http://localhost:9/v2/aggs?apiKey={SPELLINGS[1]}"
        return replace(response, body=orjson.dumps(body | {"next_url": link}))


FAULTS = {
    "none": Fault(),
    "401": Status(401),
    "503": Status(503),
    "429": TooManyRequests(),
    "truncated": Truncated(),
    "html that repeats it": Body(f"<html>{CANARY}</html>", "text/html"),
    "reset": Reset(),
    "no answer": NoAnswer(),
    "refusal that repeats it": Echo(),
    "refusal with 200": Echo(200),
    "redirect that repeats it": Redirect(f"http://localhost:9/?apikey={SPELLINGS[1]}"),
    "link that repeats it": KeyInLink(),
    "a bar that repeats it": BadNumber(f'"{CANARY}"'),
}


@pytest.fixture(scope="module")
def market() -> Market:
    return simulated_market()


@pytest.fixture
def double(market: Market) -> Iterator[VendorDouble]:
    with VendorDouble(market, stopped_clock) as listening:
        for vendor in listening.vendors.values():
            vendor.keys = dict.fromkeys(vendor.keys, CANARY)  # type: ignore[misc]
        yield listening


@pytest.fixture
def chosen(double: VendorDouble, tmp_path: Path) -> Settings:
    return quick(double, tmp_path)


def told(error: BaseException) -> str:
    """Everything that a traceback can show, local variables included, as Typer and Rich do."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join([*shown.format(), str(error), repr(error), repr(vars(error))])


def assert_silent(*texts: object) -> None:
    for text in map(str, texts):
        for spelling in SPELLINGS:
            at = text.find(spelling)
            assert at < 0, f"the key is told: …{text[max(0, at - 300) : at + 80]}…"


def shape(provider: Provider) -> str:
    """The provider and what it is made of, as text."""
    return " ".join([repr(provider), *map(repr, vars(provider).values())])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", KEYED)
def test_a_key_is_told_by_no_exception_no_log_and_no_record(
    double: VendorDouble,
    chosen: Settings,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
    fault: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    if fault == "no answer":
        chosen = chosen.model_copy(update={"http_timeout_seconds": 0.2})
    provider = impatient(make(name, chosen))
    double.play(FAULTS[fault], math.inf)
    shown = [shape(provider), repr(chosen), str(chosen)]
    try:
        pages = ask(provider, (PAIRS[name][-1], "1h"), *WINDOW)
    except ProviderError as error:
        shown.append(told(error))
    else:
        shown += [page.record(row) for page in pages for row in range(page.candles.num_rows)]
    assert double.requests
    assert any(CANARY in str([r.headers, r.params]) for r in double.requests)  # it was sent
    assert_silent(
        *shown, caplog.text, *(vars(record) for record in caplog.records), *capfd.readouterr()
    )


@pytest.mark.parametrize("name", KEYED)
def test_a_key_is_stored_nowhere(
    double: VendorDouble, chosen: Settings, tmp_path: Path, name: str
) -> None:
    double.play(FAULTS["a bar that repeats it"], math.inf)
    lake = DeltaLakeManager(tmp_path / "lake")
    ingestion = Ingestion(
        make(name, chosen), TIMEFRAMES["1h"], 30, 1.0, "run", lake.append_if_changed, lambda: NOW
    )
    window = PairDays(PAIRS[name][-1], date(2024, 3, 11), date(2024, 3, 13))
    reports = [report for batch in ingestion.days(window) for report in batch]
    assert sum(report.rejected for report in reports) == 1
    for schema in (raw_candles(TIMEFRAMES["1h"]), dead_letters(TIMEFRAMES["1h"])):
        assert_silent(lake.read(schema.name).to_pylist())
    for path in (tmp_path).rglob("*"):
        if path.is_file():
            assert_silent(path, path.read_bytes().decode("latin-1"))


@pytest.mark.parametrize("name", KEYED)
def test_a_key_goes_to_no_other_host(
    double: VendorDouble, chosen: Settings, market: Market, name: str
) -> None:
    with VendorDouble(market, stopped_clock) as elsewhere:
        host = elsewhere.url.replace("127.0.0.1", "localhost")
        double.play(Redirect(f"{host}/{name}/"), math.inf)
        with pytest.raises(ProviderError):
            ask(make(name, chosen), (PAIRS[name][-1], "1h"), *WINDOW)
        assert elsewhere.requests == []


@pytest.mark.parametrize("fault", ["a bar that repeats it", "refusal that repeats it"])
def test_a_backfill_leaves_no_key_in_its_home_and_says_none(
    double: VendorDouble, tmp_path: Path, fault: str
) -> None:
    double.play(FAULTS[fault], math.inf)
    home = tmp_path / "home"
    plan = {"FFE_POLYGON_PLAN": "unlimited", "FFE_RETRY_WAITS": "0.01"}
    state = {"FFE_HOME": str(home), "FFE_HTTP_STATE_DIR": str(tmp_path / "state")}
    command = "backfill --provider polygon --assets BTCUSD --timeframes 1h"
    command += " --start 2024-03-11 --end 2024-03-12"
    ffe = "from ffe_lakehouse.cli import main; main()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ffe, *command.split()],
        env={**os.environ, **double.environment, **plan, **state},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert double.requests_to("polygon"), done.stderr
    assert (done.returncode == 0) == (fault == "a bar that repeats it"), done.stdout + done.stderr
    assert_silent(done.stdout, done.stderr)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        assert_silent(path, path.read_bytes().decode("latin-1"))

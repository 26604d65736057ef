"""Every setting of the product, read from ``FFE_*`` environment variables and ``.env``.

Nothing else in the package reads the environment. A setting belongs here if a user may want to
change it; constants of nature (the length of an hour) do not.
"""

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveFloat,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ffe_lakehouse.errors import InputError


class PriceRange(BaseModel):
    """Prices outside ``low < price < high`` raise a warning (no error: SHIB and BRK.A exist)."""

    low: float = 0.0001
    high: float = 1_000_000.0


AssetClass = Literal["crypto", "forex", "equity"]
AlpacaFeed = Literal["sip", "iex", "otc", "delayed_sip"]


def _default_price_range() -> dict[AssetClass, PriceRange]:
    return {"crypto": PriceRange(), "forex": PriceRange(), "equity": PriceRange()}


def _default_periods() -> dict[AssetClass, float]:
    return {"crypto": 365.0, "equity": 252.0, "forex": 260.0}


def _split(value: object) -> object:
    """``5,10,20`` as a list; no text, no value."""
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _default_chain() -> dict[AssetClass, tuple[str, ...]]:
    return {
        "crypto": ("coinbase", "alpha_vantage"),
        "forex": ("oanda", "alpha_vantage"),
        "equity": ("alpaca", "polygon", "yahoo"),
    }


class OpenLetters(BaseModel):
    """Share of a day's records that are open dead letters, above which the check says so."""

    warn: float = Field(0.01, ge=0, le=1)
    error: float = Field(0.05, ge=0, le=1)


class SimulatedFaults(BaseModel):
    """Faults that the simulated provider plays, each as a share of the bars (0 to 1)."""

    bad_rows: float = Field(0.0, ge=0, le=1)
    gaps: float = Field(0.0, ge=0, le=1)
    revisions: float = Field(0.0, ge=0, le=1)
    failing_pairs: frozenset[str] = frozenset()


class Settings(BaseSettings):
    """Settings of one installation. Every field is the environment variable ``FFE_<FIELD>``."""

    model_config = SettingsConfigDict(
        env_prefix="FFE_",
        env_file=".env",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(Path("data"), description="Where the lake and Dagster's memory live.")
    storage_path: str | None = Field(None, description="Root of the lake; default HOME/lake.")
    storage_options: dict[str, str] = Field(
        default_factory=dict,
        description="Of an object store, handed to delta-rs; by default AWS_* and the like.",
    )
    durable_writes: bool = Field(
        True, description="On local disk, a write is done when it would survive a power cut."
    )
    engine: Literal["delta_rs", "spark"] = Field(
        "delta_rs", description="What does the work: this process, or a Spark cluster."
    )
    spark_master: str = Field("local[2]", description="Which cluster: yarn, k8s://…, spark://….")
    spark_conf: dict[str, str] = Field(
        default_factory=dict, description="Settings of Spark that go before those of the lakehouse."
    )
    start_date: date = Field(date(2015, 1, 1), description="The first day that can be loaded.")
    settlement_minutes: float = Field(
        15.0,
        ge=0,
        description="A day is complete only if it was loaded this long after it had closed.",
    )
    batch_days: int = Field(
        30, ge=1, description="Days of one pair that are committed together, and lost together."
    )
    max_reject_ratio: float = Field(
        0.05, ge=0, le=1, description="A day with a larger share of rejected bars fails."
    )
    clock_file: Path | None = Field(
        None, description="Holds the present moment, for rehearsals and tests."
    )
    look_back_days: int = Field(
        7, ge=0, description="So many days before the running one are kept whole by themselves."
    )
    sensor_seconds: int = Field(60, ge=1, description="Between two looks of a sensor.")
    max_runs_per_tick: int = Field(
        20, ge=1, description="Runs that one look of the incremental load requests at most."
    )
    max_attempts: int = Field(
        20, ge=1, description="Tries of a failing day by the incremental load; then it is left."
    )
    retry_first_minutes: float = Field(
        5.0, gt=0, description="Pause before the second try of a failing day; doubled each time."
    )
    landing_dir: Path | None = Field(
        None, description="Folder whose new files are loaded once each; default HOME/landing."
    )
    alert_webhook_url: SecretStr | None = Field(
        None, description="Slack-compatible; without it, alerts go to the log alone."
    )
    daily_sla_minutes: float = Field(
        120.0, gt=0, description="After 01:00 UTC, by when the daily pipeline has to be done."
    )
    freshness_minutes: float = Field(
        5.0, gt=0, description="A live pair may be so far behind while its market is open."
    )
    open_letters: OpenLetters = OpenLetters()
    min_quality_score: float = Field(
        0.8, ge=0, le=1, description="A day whose score is lower raises a warning."
    )
    default_provider: str = Field("simulated", description="Asked when a command names none.")
    files_dir: Path | None = Field(None, description="Folder that the files provider reads.")
    simulated_seed: int = Field(0, description="Another seed is another market.")
    simulated_faults: SimulatedFaults = SimulatedFaults()
    provider_chain: dict[AssetClass, tuple[str, ...]] = Field(
        default_factory=_default_chain,
        description="Vendors that the provider `chain` asks, first to last, by asset class.",
    )
    coinbase_api: Literal["exchange", "advanced"] = Field(
        "exchange", description="Which of Coinbase's two public interfaces is asked."
    )
    coinbase_base_url: str | None = Field(None, description="Default: by FFE_COINBASE_API.")
    oanda_base_url: str = Field(
        "https://api-fxpractice.oanda.com",
        description="A live account's token needs https://api-fxtrade.oanda.com.",
    )
    oanda_token: SecretStr | None = None
    alpha_vantage_base_url: str = "https://www.alphavantage.co"
    alpha_vantage_api_key: SecretStr | None = None
    alpaca_base_url: str = "https://data.alpaca.markets"
    alpaca_api_key: SecretStr | None = None
    alpaca_api_secret: SecretStr | None = None
    alpaca_feed: Annotated[AlpacaFeed | None, BeforeValidator(_lowered)] = Field(
        None, description="Default: the feed of the account."
    )
    polygon_base_url: str = Field(
        "https://api.polygon.io", description="https://api.massive.com is the same vendor."
    )
    polygon_api_key: SecretStr | None = None
    massive_api_key: SecretStr | None = Field(None, description="The same key by its new name.")
    yahoo_base_url: str = "https://query2.finance.yahoo.com"
    price_range: dict[AssetClass, PriceRange] = Field(
        default_factory=_default_price_range, description="By asset class."
    )
    provider_priority: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        ("alpha_vantage", "coinbase", "oanda", "alpaca", "polygon", "yahoo"),
        description="Of several vendors' bars, the first of these is the one in Silver.",
    )
    max_deviation_bps: float = Field(
        50.0,
        gt=0,
        description="A day on which two vendors' closes differ by more, in the median, raises a"
        " warning. Basis points.",
    )
    base_timeframe: Literal["1m", "5m", "15m", "1h", "4h", "1d"] = Field(
        "5m", description="At whose closes the six timeframes are looked at together."
    )
    account_currency: str = Field(
        "USD", description="What the portfolio is counted in: a currency code."
    )
    initial_balance: float = Field(
        100_000.0, gt=0, description="Of the portfolio before its first record; account currency."
    )
    initial_capital: float = Field(
        10_000.0,
        gt=0,
        description="Of each pair before its first trade, in its quote currency: what returns,"
        " drawdowns and ratios refer to.",
    )
    return_basis: Literal["equity", "capital"] = Field(
        "equity",
        description="A day's P&L is divided by the equity before it, or always by"
        " FFE_INITIAL_CAPITAL.",
    )
    risk_free_rate: float = Field(
        0.0, gt=-1, description="A year's, as a share: 0.04 is 4 %. For Sharpe and Sortino."
    )
    periods_per_year: dict[AssetClass, PositiveFloat] = Field(
        default_factory=_default_periods,
        description="Return days of a year by asset class: annualizes ratios.",
    )
    mart_timeframe: Literal["1m", "5m", "15m", "1h", "4h", "1d"] = Field(
        "1h", description="At whose bars mart_market_regime_stats looks."
    )
    max_log_move: float = Field(
        0.5,
        gt=0,
        description="A bar whose prices span more, or that jumps further from the bar before it,"
        " raises a warning. Natural logarithm: 0.5 is +65 % or -39 %.",
    )
    equity_calendar: str = Field("XNYS", description="exchange_calendars code for equities.")
    vacuum_hours: float = Field(
        720.0,
        ge=168,
        description="Files that were replaced so long ago are deleted: so far time travel goes.",
    )
    compression: Literal["zstd", "snappy", "gzip", "uncompressed"] = "zstd"

    max_in_flight: int = Field(5, ge=1, description="Requests that wait for an answer at once.")
    http_timeout_seconds: float = Field(
        30.0, gt=0, description="A vendor's answer must be complete after so long."
    )
    http_max_body_mb: int = Field(
        32, ge=1, description="A larger answer, unpacked, is refused. Megabytes (2**20 bytes)."
    )
    http_state_dir: Path | None = Field(
        None,
        description="Folder through which the processes of this machine share the rate limits;"
        " default: one for each user in the system's folder of temporary files.",
    )
    retry_waits: Annotated[tuple[PositiveFloat, ...], NoDecode, BeforeValidator(_split)] = Field(
        (5.0, 10.0, 20.0),
        description="Seconds before each new try of a request that failed and may heal.",
    )
    retry_max_wait_seconds: float = Field(
        120.0, ge=0, description="A vendor that asks to wait longer is given up for now."
    )
    breaker_failures: int = Field(
        5, ge=1, description="After so many failures in a row a vendor is left alone."
    )
    breaker_seconds: float = Field(60.0, gt=0, description="For so long; then one request tries.")
    coinbase_plan: Literal["free", "unlimited"] = "free"
    oanda_plan: Literal["free", "unlimited"] = "free"
    alpha_vantage_plan: Literal["free", "premium", "premium_1200", "unlimited"] = "free"
    alpaca_plan: Literal["free", "paid", "unlimited"] = "free"
    polygon_plan: Literal["free", "paid", "unlimited"] = "free"
    yahoo_plan: Literal["free", "unlimited"] = "free"

    @field_validator("price_range", mode="after")
    @classmethod
    def _every_class(cls, given: dict[AssetClass, PriceRange]) -> dict[AssetClass, PriceRange]:
        return _default_price_range() | given

    @field_validator("periods_per_year", mode="after")
    @classmethod
    def _every_period(cls, given: dict[AssetClass, float]) -> dict[AssetClass, float]:
        return _default_periods() | given

    @field_validator("account_currency", mode="after")
    @classmethod
    def _currency(cls, given: str) -> str:
        if not given.isalnum():
            raise ValueError("use a currency code such as USD or USDT")
        return given.upper()

    @field_validator(
        "files_dir",
        "storage_path",
        "clock_file",
        "landing_dir",
        "alert_webhook_url",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return given or None

    @property
    def lake_uri(self) -> str:
        """Root of the Delta tables: a path or an object-store URI."""
        return self.storage_path or str(self.home.resolve() / "lake")

    @property
    def dagster_home(self) -> Path:
        """Dagster's home: the event log in it is the watermark, so it must last."""
        return self.home.resolve() / "dagster"

    @property
    def landing_folder(self) -> Path:
        """Where new files are looked for."""
        return (self.landing_dir or self.home / "landing").resolve()

    @property
    def settlement_delay(self) -> timedelta:
        """How long after a day's close its bars may still change."""
        return timedelta(minutes=self.settlement_minutes)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once; ``get_settings.cache_clear()`` forgets them.

    ``.env`` is that of the working directory, and so is what a relative ``FFE_HOME`` is relative
    to. Within the dbt project both are those of the folder around it.

    Raises:
        InputError: A variable has a value that its setting cannot have.
    """
    root = Path("..") if Path("dbt_project.yml").exists() else Path()
    try:
        settings = Settings(_env_file=root / ".env")
        return settings.model_copy(update={"home": root / settings.home})
    except ValidationError as error:
        wrong = [
            f"FFE_{'__'.join(map(str, each['loc'])).upper()}={each['input']!r}: {each['msg']}"
            for each in error.errors()
        ]
        raise InputError("; ".join(wrong)) from error

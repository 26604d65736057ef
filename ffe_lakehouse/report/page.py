"""The page: sections, figures, scripts and styles in one HTML text that asks nothing of a network.

A browser is told so, too: by the page's content security policy it loads nothing, and runs exactly
the two scripts that are put in here, whatever a name in the data looks like.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from ffe_lakehouse.report import formats, theme
from ffe_lakehouse.report.blocks import Block, Details, Note, Plot, Plots
from ffe_lakehouse.report.definitions import glossaries
from ffe_lakehouse.report.excerpts import PERFORMANCE, PORTFOLIO, REGIMES, Excerpts
from ffe_lakehouse.report.sections.common import not_computed
from ffe_lakehouse.report.sections.ensembles import ensembles
from ffe_lakehouse.report.sections.performance import performance
from ffe_lakehouse.report.sections.portfolio import portfolio
from ffe_lakehouse.report.sections.providers import providers
from ffe_lakehouse.report.sections.regimes import regimes

SECTIONS = (portfolio, performance, regimes, providers, ensembles)


def render(excerpts: Excerpts, generated_at: datetime) -> str:
    """The whole page.

    Args:
        excerpts: What the marts say.
        generated_at: When they were read (UTC).
    """
    sections = [section(excerpts) for section in SECTIONS]
    plots = {
        f"plot-{number}": plot
        for number, plot in enumerate(_plots(b for s in sections for b in s.blocks), 1)
    }
    scripts = [Markup(text) for text in (get_plotlyjs(), _source("report.js"))]  # noqa: S704 - ours
    environment = Environment(
        loader=PackageLoader("ffe_lakehouse.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ticks"] = _ticks
    return environment.get_template("report.html").render(
        period=excerpts.period,
        facts=_facts(excerpts, generated_at),
        badge=_badge(excerpts),
        notes=[*_simulated(excerpts), *not_computed(excerpts)],
        sections=sections,
        glossaries=glossaries(),
        ids={id(plot): name for name, plot in plots.items()},
        id=id,
        zip=zip,
        policy=_policy(scripts),
        style=Markup(theme.style_sheet() + _source("report.css")),  # noqa: S704 - our own file
        scripts=scripts,
        data=_data(plots),
    )


def _facts(excerpts: Excerpts, generated_at: datetime) -> dict[str, str]:
    rows = excerpts.of[PERFORMANCE].rows
    return {
        "Pairs": formats.listed(list(excerpts.pairs), 20) or "none",
        "Computed up to": formats.day(rows["date"].max()),
        "Lake": excerpts.lake,
        "Generated": formats.moment(generated_at),
    }


def _badge(excerpts: Excerpts) -> str:
    """That something on the page is simulated; empty if nothing is."""
    found = [each.rows["is_mock"] for each in excerpts.of.values()]
    if not any(each.any() for each in found):
        return ""
    return "Simulated data" if all(each.all() for each in found) else "Partly simulated data"


def _simulated(excerpts: Excerpts) -> list[Note]:
    """What is simulated, in sentences."""
    notes = []
    pairs = excerpts.of[PERFORMANCE].simulated
    if pairs:
        notes.append(Note(f"Decisions and trades are simulated: {formats.listed(pairs)}."))
    bars = sorted(set(excerpts.of[REGIMES].simulated) - set(pairs))
    if bars:
        notes.append(Note(f"Bars are simulated: {formats.listed(bars)}."))
    if excerpts.of[PORTFOLIO].rows["is_mock"].any():
        notes.append(Note("The portfolio is simulated."))
    turned = [f"{pair} since {day}" for pair, day in sorted(excerpts.real_since.items())]
    if turned:
        notes.append(
            Note(
                f"Real only from a day within the period on: {formats.listed(turned)}. What was"
                " simulated before is left out, and all counts begin anew on that day."
            )
        )
    return notes


def _plots(blocks: Iterable[Block]) -> Iterator[Plot]:
    for block in blocks:
        if isinstance(block, Plot):
            yield block
        elif isinstance(block, Plots):
            yield from block.plots
        elif isinstance(block, Details):
            yield from _plots(block.blocks)


def _ticks(text: str) -> Markup:
    """A text in whose place ``code`` stands in backticks, as in the descriptions of dbt."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _source(name: str) -> str:
    return files("ffe_lakehouse.report").joinpath("templates", name).read_text()


def _data(plots: Mapping[str, Plot]) -> Markup:
    """What the script draws, as JSON that cannot end the element that it stands in."""
    figures = ",".join(f'"{name}":{plot.figure.to_json()}' for name, plot in plots.items())
    dark, template = json.dumps(theme.ON_DARK), json.dumps(theme.TEMPLATE)
    text = f'{{"dark":{dark},"template":{template},"figures":{{{figures}}}}}'
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - no element begins or ends in it


def _policy(scripts: Iterable[str]) -> str:
    """Nothing from elsewhere; of scripts those with these hashes. Plotly styles what it draws."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )

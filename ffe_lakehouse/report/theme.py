"""Colours of the plots, by light and by dark, and what all plots have in common.

The series colours are Okabe and Ito's, made to differ for people who confuse colours (Color
Universal Design, 2008); those that are too pale for a white page are darker here.
"""

from collections.abc import Iterable
from itertools import cycle, product

_NAMED = {
    "ink": ("#404855", "#c3cad5"),
    "faint": ("#68717f", "#8b95a5"),
    "grid": ("#e4e7ec", "#2a313c"),
    "blue": ("#0072b2", "#56a8e0"),
    "orange": ("#d55e00", "#f08a4b"),
    "green": ("#009e73", "#35c6a0"),
    "purple": ("#a8518a", "#d992c3"),
    "ochre": ("#b07d00", "#dfae45"),
    "grey": ("#5f6b7a", "#9aa6b6"),
    "fall": ("rgba(213, 94, 0, 0.16)", "rgba(240, 138, 75, 0.22)"),
    "trend": ("rgba(0, 114, 178, 0.15)", "rgba(86, 168, 224, 0.24)"),
    "range": ("rgba(95, 107, 122, 0.13)", "rgba(154, 166, 182, 0.16)"),
    "volatile": ("rgba(220, 150, 0, 0.24)", "rgba(223, 174, 69, 0.26)"),
}
LIGHT = {name: light for name, (light, _) in _NAMED.items()}
DARK = {name: dark for name, (_, dark) in _NAMED.items()}
ON_DARK = dict(_NAMED.values())
"""What a colour is on a dark page: the page's script puts one for the other."""
NAMES = {light: name for name, light in LIGHT.items()}

INK, FAINT, GRID, FALL = (LIGHT[name] for name in ("ink", "faint", "grid", "fall"))
BLUE, ORANGE, GREEN, PURPLE, OCHRE, GREY = _SERIES = tuple(
    LIGHT[name] for name in ("blue", "orange", "green", "purple", "ochre", "grey")
)
PARTS = (BLUE, ORANGE, GREEN, PURPLE, OCHRE)
"""Of what is drawn as areas, which have no dashes; one more, grey, is for all others together."""
OTHERS = GREY
REGIME_COLOURS = {"trend": BLUE, "range": GREY, "volatile": OCHRE, "unknown": FAINT}
REGIME_SHADES = {name: LIGHT[name] for name in ("trend", "range", "volatile")}

_DASHES = ("solid", "dash", "dot")
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_AXIS = {
    "gridcolor": GRID,
    "linecolor": GRID,
    "zerolinecolor": FAINT,
    "zerolinewidth": 1,
    "automargin": True,
    "separatethousands": True,
    "exponentformat": "none",
    "title": {"standoff": 8, "font": {"size": 12, "color": FAINT}},
}
TEMPLATE = {
    "layout": {
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        # The page has one, which a phone shows, too.
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {"font": {"family": FONT, "size": 12}},
        "bargap": 0.35,
    }
}


def lines(names: Iterable[str]) -> dict[str, dict[str, object]]:
    """A line for each name; up to 18 can be told apart: by colour, then also by dashes."""
    styles = cycle(product(_DASHES, _SERIES))
    return {
        name: {"color": colour, "dash": dash, "width": 2}
        for name, (dash, colour) in zip(names, styles, strict=False)
    }


def style_sheet() -> str:
    """The colours as CSS variables, by name."""
    light, dark = (
        ";".join(f"--{name}:{colour}" for name, colour in colours.items())
        for colours in (LIGHT, DARK)
    )
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"

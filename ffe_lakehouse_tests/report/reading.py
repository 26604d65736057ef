"""A page as a reader finds it: its texts, tables and anchors."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Page(HTMLParser):
    """What stands on a page.

    Attributes:
        html: As it is.
        ids: Anchors.
        links: Where links lead.
        loaded: What the page would load from elsewhere.
        elements: Names of all elements.
        tables: By section and caption: rows of texts, the header first.
        texts: By section, all that is written.
        scripts: Their texts.
        policy: What a browser is told that it may load and run.
    """

    html: str
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)
    tables: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    policy: str = ""

    def __post_init__(self) -> None:
        """Read it."""
        super().__init__()
        self._section, self._within, self._caption = "header", "", ""
        self.feed(self.html)

    @property
    def figures(self) -> dict[str, Any]:
        """Figures by the id of their place."""
        found: dict[str, Any] = json.loads(self.scripts[0])["figures"]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Where we are, and what is named."""
        given = {name: value or "" for name, value in attrs}
        self.elements.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "a":
            self.links.append(given["href"])
        self.loaded += [
            given[name] for name in ("src", "srcset", "data", "poster") if name in given
        ]
        if tag == "link":
            self.loaded.append(given["href"])
        if tag == "section":
            self._section = given["id"]
        elif tag == "table":
            self._caption = ""
        elif tag == "thead":
            self.tables[self._section, self._caption] = []
        elif tag == "tr":
            self.tables[self._section, self._caption].append([])
        elif tag in ("td", "th"):
            self.tables[self._section, self._caption][-1].append("")
        self._within = tag if tag in ("caption", "td", "th", "script", "style") else self._within
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Where we are no longer."""
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        """A text, where it stands."""
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within == "caption":
            self._caption = data
        elif self._within in ("td", "th"):
            row = self.tables[self._section, self._caption][-1]
            row[-1] = f"{row[-1]} {data.strip()}".strip()
        if self._within not in ("script", "style"):
            self.texts[self._section] = self.texts.get(self._section, "") + data

"""A day of bars as a small picture: an SVG for the Dagster UI, which shows Markdown.

At most 48 candles: an event is stored for every partition, and 1,440 candles would make the event
log larger than the lake.
"""

from urllib.parse import quote

import numpy as np

_WIDTH, _HEIGHT, _MARGIN = 480, 160, 8
_MOST = 48
_UP, _DOWN = "#26a69a", "#ef5350"


def candlesticks(bars: np.ndarray) -> str:
    """Draw bars as candlesticks.

    Args:
        bars: Shape (n, 4): open, high, low, close, ascending in time.

    Returns:
        Markdown of an image, or an empty text if there are no bars.
    """
    if not len(bars):
        return ""
    open_, high, low, close = _thinned(bars).T
    top, bottom = high.max(), low.min()
    scale = (_HEIGHT - 2 * _MARGIN) / ((top - bottom) or 1.0)

    def y(price: np.ndarray) -> np.ndarray:
        pixels: np.ndarray = np.rint(_MARGIN + (top - price) * scale).astype(int)
        return pixels

    step = _WIDTH / len(open_)
    centre = np.rint((np.arange(len(open_)) + 0.5) * step).astype(int)
    half = max(1, int(step * 0.35))
    up = close >= open_
    body_top, body_bottom = y(np.maximum(open_, close)), y(np.minimum(open_, close))
    candles = zip(
        centre, y(high), y(low), body_top, np.maximum(body_bottom - body_top, 1), strict=True
    )
    strokes = [
        f"M{x} {wick}V{foot}M{x - half} {head}h{2 * half}v{tall}h-{2 * half}z"
        for x, wick, foot, head, tall in candles
    ]
    paths = "".join(
        f"<path d='{''.join(s for s, is_up in zip(strokes, up, strict=True) if is_up == side)}'"
        f" stroke='{colour}' fill='{colour}'/>"
        for side, colour in ((True, _UP), (False, _DOWN))
    )
    # Without a size of its own the picture has none in the UI, which shows short ones in a cell.
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}'"
        f" viewBox='0 0 {_WIDTH} {_HEIGHT}'>{paths}</svg>"
    )
    return f"![candles](data:image/svg+xml,{quote(svg, safe='')})"


def _thinned(bars: np.ndarray) -> np.ndarray:
    """At most ``_MOST`` bars, neighbours rolled up."""
    size = -(-len(bars) // _MOST)
    starts = np.arange(0, len(bars), size)
    ends = np.append(starts[1:], len(bars)) - 1
    return np.column_stack(
        [
            bars[starts, 0],
            np.maximum.reduceat(bars[:, 1], starts),
            np.minimum.reduceat(bars[:, 2], starts),
            bars[ends, 3],
        ]
    )

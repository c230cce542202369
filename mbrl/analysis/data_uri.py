"""`data_uri`: a picture that stands in the page itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from mbrl.analysis.png import png
from mbrl.figure_style import in_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST = 150_000  # bytes of an SVG: thousands of points make more, and are smaller and faster as pixels
_DPI = 200  # twice what a screen shows, for those that show more


def data_uri(picture: Figure | bytes) -> str:
    """A figure as an SVG, or as a PNG where that is smaller, in a URI; the same figure gives the same text.

    Args:
        picture: or a PNG file.
    """
    kind, data = ("png", picture) if isinstance(picture, bytes) else _drawn(picture)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _drawn(figure: Figure) -> tuple[str, bytes]:
    data = _svg(figure)
    return ("svg+xml", data) if len(data) <= _LARGEST else ("png", png(figure, _DPI))


@in_style
def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()

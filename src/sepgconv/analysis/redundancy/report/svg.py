"""Matplotlib figures as SVG elements inside a page: in its font and text colour, without clashing ids."""

import hashlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from sepgconv._drawing import literal_text
from sepgconv._text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The blue of what is, the orange of its alternative, the grey of what was: all three read on white and on black.
BLUE, ORANGE, GREY = "#3d85c6", "#d9822b", "#8d939c"
# Matplotlib wants a colour; on the page it becomes that of the text, dark or light.
INK = "#010203"
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.alpha": 0.25,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
}


def draw_svg(draw: Callable[["Figure"], None], *, size: tuple[float, float], label: str) -> Markup:
    """Return a figure as an `<svg>` element.

    Args:
        draw: draws on the Matplotlib figure it is given.
        size: (width, height) in inches. On the page it is at most so wide that 10 point letters stay as large as text.
        label: what the figure shows, for people who do not see it.
    """
    # A Figure of its own, not pyplot, so that no global state and no window system is touched.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    label = visible(label)
    file = io.StringIO()
    with literal_text(), mpl.rc_context({**_SETTINGS, "svg.hashsalt": label}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_a_page(file.getvalue(), label, 72 * size[0])


def _for_a_page(text: str, label: str, width: float) -> Markup:
    mark = "f" + hashlib.sha256(label.encode()).hexdigest()[:8]
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", lambda tag: _marked(tag[0], mark), body)  # words between the tags stay as they are
    opening, rest = body.split(">", 1)
    box = re.findall(r'viewBox="[^"]+"', opening)[0]
    # An HTML page needs no name spaces. A point of the drawing is at most 1.3 pixels of the page.
    return Markup(
        f'<svg role="img" aria-label="{escape(label)}" {box} style="max-width:{1.3 * width:.0f}px">{rest.strip()}'
    )


def _marked(tag: str, mark: str) -> str:
    # Every figure numbers its parts anew; within a page an id stands for one thing.
    tag = re.sub(r'\bid="', f'id="{mark}-', tag)
    tag = re.sub(r"url\(#", f"url(#{mark}-", tag)
    tag = re.sub(r'href="#', f'href="#{mark}-', tag)
    return tag.replace(INK, "currentColor")

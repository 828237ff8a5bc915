"""Figures of Matplotlib whose words are drawn as they are. Imports nothing of the package."""

import contextlib
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def literal_text() -> Generator[None, None, None]:
    """Draw words as they are, while a figure is made and saved: `$x_$` is no formula, whatever a user's settings say.

    Letters that the font lacks are drawn as boxes, without a warning for each.
    """
    import matplotlib as mpl  # half a second, and only what draws needs it

    with mpl.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield

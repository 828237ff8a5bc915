"""Pictures of reports as PNG; each carries a fingerprint of what it shows."""

import hashlib
import io
import json

from experiments.report import Picture
from sepgconv._drawing import literal_text

CONTENT = "sepgconv-content"  # the PNG text entry


def png(picture: Picture) -> bytes:
    """Return a picture as PNG. The same content gives the same bytes with one version of Matplotlib."""
    # A Figure of its own, not pyplot, so that no global state and no window system is touched.
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with literal_text():
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure, picture.content)
        figure.savefig(file, format="png", dpi=100, metadata={CONTENT: content_hash(picture), "Software": None})
    return file.getvalue()


def content_hash(picture: Picture) -> str:
    """Return a fingerprint of what a picture shows."""
    return hashlib.sha256(json.dumps(picture.content, sort_keys=True).encode()).hexdigest()

"""`sepgconv info`: a network, layer by layer."""

from typing import Annotated

import typer

from sepgconv.cli import options
from sepgconv.cli.output import draw_table


def info(
    model: options.Model,
    width: options.Width = None,
    widths: options.Widths = None,
    group: options.Group = None,
    option: options.ModelOptions = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the images in pixels. Default: that of the network.")
    ] = None,
) -> None:
    """Print the layers of a network: shape, parameters, nominal and executed multiply-accumulates."""
    import sepgconv
    from sepgconv.analysis.cost import cost_table

    network = sepgconv.create_model(model, **options.model_config(width, widths, group, option))
    side = image_size or network.input_size
    report = sepgconv.analysis.cost(network, (network.in_channels, side, side))
    config = ", ".join(f"{key}={value}" for key, value in network.config.items())
    draw_table(cost_table(report, f"{model} ({config}) on {side} x {side} images"))

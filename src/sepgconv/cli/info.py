"""`sepgconv info`: a network, layer by layer."""

from typing import Annotated

import typer

from sepgconv.cli import options
from sepgconv.cli.output import count, print_table


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

    network = sepgconv.create_model(model, **options.model_config(width, widths, group, option))
    side = image_size or network.input_size
    report = sepgconv.analysis.cost(network, (network.in_channels, side, side))
    rows = [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output_shape)),
            count(layer.parameters),
            count(layer.nominal_macs),
            count(layer.executed_macs),
        )
        for layer in report.layers
    ]
    total = ("total", "", "", count(report.parameters), count(report.nominal_macs), count(report.executed_macs))
    config = ", ".join(f"{key}={value}" for key, value in network.config.items())
    columns = ("layer", "kind", "output", "parameters", "nominal MACs", "executed MACs")
    print_table(f"{model} ({config}) on {side} x {side} images", columns, [*rows, total], left=3)

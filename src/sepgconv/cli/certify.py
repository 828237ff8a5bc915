"""`sepgconv certify`: whether a network commutes with a group, and the first layer that does not; for CI, too."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgconv._terminal import show, show_data
from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_data_of
from sepgconv.cli.errors import NoAnswerError
from sepgconv.cli.networks import FoundNetwork, find_network
from sepgconv.cli.output import draw_table

if TYPE_CHECKING:
    from torch import Tensor

    from sepgconv.analysis import Certificate

CURVE_IMAGES = 8  # made up for the curve where there are no real ones


def certify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN",
            help="A network by name (random weights), the folder of a run, or one that sepgconv.save wrote.",
            show_default=False,
        ),
    ],
    size: Annotated[int | None, typer.Option(min=1, help="Side of the image. Default: the network's own.")] = None,
    group: Annotated[
        str | None, typer.Option(help=f"{options.GROUP_NAMES}. Default: the network's own, else p4.")
    ] = None,
    width: options.Width = None,
    widths: options.Widths = None,
    option: options.ModelOptions = None,
    images: Annotated[int, typer.Option(min=0, help="Certify on so many test images of the run's data, too.")] = 0,
    data_dir: options.DataDir = None,
    samples: Annotated[int, typer.Option(min=2, help="Random images.")] = 3,
    tolerance: Annotated[
        float | None, typer.Option(help="Largest relative error that is exact. Default: 1e-6.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Fixes random images and random weights.")] = 0,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the certificate as JSON; - prints it instead.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw how the output changes over 360 degrees.")
    ] = None,
) -> None:
    """Measure in float64, over every element of a group, how exactly a network and each layer commute with it.

    Rotations by 45 degrees and others that take pixels between pixels are measured on band-limited images, beside what
    the filters themselves account for. No network is exact for them: one on C8 is exact for --group C4.

    Exit status 0: exact. 1: not exact; the first layer at fault is named, with the reason. 2: it could not be measured.
    """
    from sepgconv.analysis.certify import printed_parts

    try:
        found = find_network(model, options.model_config(width, widths, None, option), seed)
        inputs = _real_images(model, found, images, data_dir)
        certificate = _certificate(found, size, group, inputs, samples, tolerance, seed)
        if certificate.exact and not certificate.varies:
            raise ValueError(
                f"{found.title} gives the same output for all images, so its equivariance cannot be measured; "
                "certify trained weights, or other images"
            )
        if curve is not None:
            _draw(found, certificate, inputs, curve, seed)
        text = json.dumps({"network": found.title, **certificate.to_dict()}, indent=2, allow_nan=False)
        if json_to not in (None, "-"):
            from sepgconv._files import write_atomically

            write_atomically(Path(str(json_to)), f"{text}\n".encode())
        if json_to == "-":
            show_data(text)
        else:
            *parts, last = printed_parts(certificate, found.title)
            for part in parts:
                if isinstance(part, str):
                    show(part)
                    show("")
                else:
                    draw_table(part)
            show(str(last))
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        raise NoAnswerError(str(error)) from error
    except MemoryError as error:
        raise NoAnswerError(f"out of memory: {error}") from error
    if not certificate.exact:
        raise typer.Exit(1)


def _certificate(
    found: FoundNetwork,
    size: int | None,
    group: str | None,
    images: "Tensor | None",
    samples: int,
    tolerance: float | None,
    seed: int,
) -> "Certificate":
    from sepgconv.analysis import certify as measure
    from sepgconv.analysis.certify import TOLERANCE

    network = found.model
    own = str(network.config.get("group", "p1"))
    shape = found.image_shape if size is None else (network.in_channels, size, size)
    if images is not None and tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"the images of the run are {images.shape[-2]} x {images.shape[-1]}; leave out --size {size} or --images"
        )
    return measure(
        network,
        group or ("p4" if own == "p1" else own),
        shape,
        inputs=images,
        samples=samples,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        seed=seed,
    )


def _real_images(run: str, found: FoundNetwork, images: int, data_dir: Path | None) -> "Tensor | None":
    if images == 0:
        return None
    if found.record is None:
        raise ValueError("--images takes images of a run's data; give the folder of a run of `sepgconv train`")
    return load_data_of(Path(run), found.record, data_dir).test.images[:images]


def _draw(found: FoundNetwork, certificate: "Certificate", images: "Tensor | None", path: Path, seed: int) -> None:
    from sepgconv.analysis import rotation_curve
    from sepgconv.analysis.certify.rotation import EVERY_FIVE_DEGREES
    from sepgconv.cli.rotation_plot import draw_rotation_curve, rotation_angles, smooth_images

    shape = certificate.input_shape
    if images is None:
        images = smooth_images(CURVE_IMAGES, shape[0], shape[-1], seed)
        what = f"{CURVE_IMAGES} random smooth images"
    else:
        what = f"{len(images)} test images"
    angles = sorted({*EVERY_FIVE_DEGREES, *rotation_angles(certificate.group)})
    draw_rotation_curve(
        rotation_curve(found.model, images, angles), path, title=f"{found.title}: {what}", group=certificate.group
    )

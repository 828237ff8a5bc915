"""`sepgconv models` and `sepgconv data`: what there is, by name."""

from sepgconv._numbers import count
from sepgconv.cli.output import print_table


def models() -> None:
    """List the networks."""
    import sepgconv
    from sepgconv.models import model_entry

    rows: list[tuple[str, str, str, str]] = []
    for name in sepgconv.list_models():
        if model_entry(name).required:  # a network of others, which no name alone builds
            rows.append((name, model_entry(name).summary, "-", "-"))
            continue
        network = sepgconv.create_model(name)
        size = network.config.get("width", network.config.get("widths", "-"))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        rows.append((name, model_entry(name).summary, str(size), count(parameters)))
    print_table(
        "Networks, as create_model builds them by default", ("name", "what", "width", "parameters"), rows, left=2
    )


def data() -> None:
    """List the data sets."""
    from sepgconv.data import describe_dataset, list_datasets

    rows = [(name, describe_dataset(name)) for name in list_datasets()]
    print_table("Data sets", ("name", "what"), rows, left=2)

"""`python -m experiments`: the tables and figures of the paper."""

from collections.abc import Callable

from sepgconv.cli import run


def main() -> None:
    """Run the command line."""

    def application() -> Callable[[], object]:
        from experiments.command import app

        return app

    run(application)


if __name__ == "__main__":  # processes that run cells import this file, too
    main()

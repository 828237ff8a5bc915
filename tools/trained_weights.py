"""Put the network of a finished run among those that come with the package: `python -m tools.trained_weights RUN TAG`.

The file holds the weights, the options of the network and the record of the run; `create_model(name, pretrained=TAG)`
reads it, and `sepgconv.models.pretrained_record` the record.
"""

import argparse
import json
from pathlib import Path

from sepgconv._files import write_atomically
from sepgconv.models.pretrained import RECORD, SHIPPED
from sepgconv.models.sealed import HEADER, read_sealed, to_sealed_bytes
from sepgconv.models.storage import WEIGHTS
from sepgconv.tasks import load_run
from sepgconv.tasks.folder import RunFolder


def ship(run: Path, tag: str, root: Path = SHIPPED) -> Path:
    """Write the weights of a finished run where the package looks for them.

    Args:
        run: the folder of the run.
        tag: what the weights are called, as in "seed1".
        root: the folder of all weights. Default: the package's.

    Raises:
        FileNotFoundError: the run is not finished, or there is none.
        ValueError: a file of it is damaged.
    """
    loaded = load_run(run)  # compares the digests of all files
    kept = read_sealed(RunFolder(run).model / WEIGHTS)
    metadata = {HEADER: kept.metadata[HEADER], RECORD: json.dumps(loaded.record.to_dict())}
    file = root / loaded.record.model / f"{tag}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, to_sealed_bytes(kept.state, metadata))
    return file


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Put the network of a run among those that come with the package.")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("tag", help="what the weights are called, as seed1")
    arguments = parser.parse_args()
    print(ship(arguments.run, arguments.tag))


if __name__ == "__main__":
    main()

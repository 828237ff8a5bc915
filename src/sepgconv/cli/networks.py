"""The network that a command is asked about: by its name, in a run folder, or in a folder of `sepgconv.save`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepgconv.models import Network
    from sepgconv.training import Run


@dataclass(frozen=True)
class Found:
    """A network and where it comes from.

    Attributes:
        network: in evaluation mode.
        run: the run it comes from, or None.
        title: what to call it.
    """

    network: "Network"
    run: "Run | None"
    title: str


def find_network(name_or_folder: str, config: dict[str, Any], seed: int) -> Found:
    """Return the network that a name or folder stands for.

    Args:
        name_or_folder: a name of `sepgconv.list_models()`, which gives random weights; the folder of a finished run, or
            one that `sepgconv.save` wrote.
        config: options of a network by name; none for a folder, whose network is as it is.
        seed: of the random weights.

    Raises:
        ValueError: no such name and no such folder, options for a folder, or a damaged file.
        FileNotFoundError: a run that is not finished, or a folder that holds neither.
    """
    import torch

    from sepgconv.models import Network, create_model, list_models, load, model_entry
    from sepgconv.training import load_run

    folder = Path(name_or_folder)
    if name_or_folder in list_models() or not folder.exists():
        try:
            model_entry(name_or_folder)
        except ValueError as error:
            raise ValueError(f"{error}; or give the folder of a run or of a saved network") from error
        torch.manual_seed(seed)
        return Found(create_model(name_or_folder, **config).eval(), None, f"{name_or_folder} with random weights")
    if config:
        raise ValueError(
            f"the network in {folder} is as it is; leave out {', '.join(config)}, or give a network by name"
        )
    if (folder / "model.safetensors").is_file():
        network = load(folder)
        return Found(network, None, f"{network.name} from {folder}")
    run = load_run(folder)
    if not isinstance(run.model, Network):
        raise ValueError(f"the run in {folder} holds no network of sepgconv.models")
    return Found(run.model, run, f"{run.record.model} from {folder}")

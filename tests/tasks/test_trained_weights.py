"""The network of a run among those that come with the package (`python -m tools.trained_weights`)."""

import torch

import sepgconv
from sepgconv.models import list_pretrained, pretrained, pretrained_record
from sepgconv.tasks import load_run
from tools.trained_weights import ship


def test_the_network_of_a_run_is_shipped_with_its_record(undisturbed, tmp_path, monkeypatch):
    run = load_run(undisturbed.folder)
    file = ship(undisturbed.folder, "seed1", tmp_path)
    assert file == tmp_path / run.record.model / "seed1.safetensors"
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    assert list_pretrained() == (f"{run.record.model}.seed1",)
    assert pretrained_record(run.record.model) == run.record.to_dict()
    found, x = sepgconv.create_model(run.record.model, pretrained=True).eval(), torch.rand(2, *run.record.image_shape)
    assert torch.equal(found(x), run.model(x))

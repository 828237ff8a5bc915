"""Weights from elsewhere, parts that do not learn, and parts that learn more slowly."""

import dataclasses

import pytest
import torch

from sepgconv import create_model, save
from sepgconv.tasks import RunRecord, load_run, pretrained, train
from sepgconv.tasks.module import TrainingModule
from sepgconv.tasks.parts import find_parts, head_of


def test_a_frozen_part_keeps_weights_and_statistics_and_the_rest_learns(config, bars, tmp_path):
    torch.manual_seed(3)
    given = create_model("gc_p4cnn", width=3, num_classes=3)
    with torch.no_grad():
        for name, value in given.state_dict().items():
            if "running" in name:
                value.uniform_(0.5, 1.5)
    save(given, tmp_path / "given")
    frozen = dataclasses.replace(config, epochs=1, freeze=("features.0", "features.[12]"))
    record = train(
        frozen, folder=tmp_path / "run", data=bars, prepare=pretrained(tmp_path / "given"), progress=False, threads=1
    )
    before, after = given.state_dict(), load_run(tmp_path / "run").model.state_dict()
    fixed = {name for name in after if name.split(".")[:2] in (["features", "0"], ["features", "1"], ["features", "2"])}
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert any("running_var" in name for name in fixed)
    assert not fixed & moved
    assert any("running_var" in name for name in moved), "other parts learn"
    assert record.origin["from"] == str(tmp_path / "given")
    assert record.origin["drawn"] == ["classifier.weight", "classifier.bias"], (
        "a saved network does not know its classes"
    )
    assert RunRecord.read(tmp_path / "run" / "record.json") == record


def test_the_head_of_a_run_with_the_same_classes_is_taken_over(undisturbed, bars):
    run = load_run(undisturbed.folder)
    for classes, same in ((bars.classes, True), (bars.classes[::-1], False), ((), False)):
        new = create_model("gc_p4cnn", **{**run.record.model_config, "num_classes": 3})
        origin = pretrained(undisturbed.folder, classes=classes)(new)
        assert torch.equal(new.classifier.weight, run.model.classifier.weight) == same
        assert torch.equal(next(new.parameters()), next(run.model.parameters()))
        assert origin["drawn"] == ([] if same else ["classifier.weight", "classifier.bias"])


def test_a_network_of_another_kind_is_not_taken_and_five_differences_are_named(undisturbed):
    with pytest.raises(ValueError, match="tensors differ before the head") as error:
        pretrained(undisturbed.folder)(create_model("gc_p4cnn", width=4, num_classes=3))
    assert str(error.value).count(" there and ") == 5
    with pytest.raises(
        FileNotFoundError, match="is no folder and no name of trained weights; expected the folder of a run"
    ):
        pretrained(undisturbed.folder / "nowhere")


def test_the_backbone_learns_at_its_own_rate(config, bars):
    """As the definition of plain gradient descent says, after one step."""
    slow = dataclasses.replace(
        config, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.5, lr_backbone=0.05, model_config={"width": 3}
    )
    model = create_model("gc_p4cnn", width=3, num_classes=3)
    optimizer = TrainingModule(model, slow).configure_optimizers()
    rates = {id(p): group["share"] * slow.lr for group in optimizer.param_groups for p in group["params"]}
    head = {id(parameter) for parameter in head_of(model)[1].parameters()}
    assert all(rates[id(p)] == pytest.approx(0.5 if id(p) in head else 0.05) for p in model.parameters())
    assert len(optimizer.param_groups[0]["params"]) == 2, "the head comes first: its rate is the one that is logged"


def test_plain_trainings_have_one_group_of_parameters(config):
    """Checkpoints of older versions have one, and are read back."""
    module = TrainingModule(create_model("z2cnn", width=2), config)
    assert len(module.configure_optimizers().param_groups) == 1


def test_parts_by_name():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(2)))
    assert find_parts(model, ["1.1"]) == [model[1][1]]
    assert find_parts(model, ["1.*"]) == [model[1][0], model[1][1]]
    assert head_of(model) == ("1.1", model[1][1])
    with pytest.raises(ValueError, match=r"no part of the network is called 'stem' \(its parts: 0, 1\)"):
        find_parts(model, ["stem"])
    with pytest.raises(ValueError, match="has no layer with weights"):
        head_of(torch.nn.ReLU())


def test_trained_weights_are_known_by_name(tmp_path, monkeypatch):
    from sepgconv.models import pretrained as table
    from sepgconv.models import register_pretrained

    monkeypatch.setattr(table, "_REGISTERED", {})
    given = create_model("z2cnn", width=2, num_classes=3)
    register_pretrained("z2cnn", "mine", save(given, tmp_path) / "model.safetensors")
    new = create_model("z2cnn", width=2, num_classes=7)
    origin = pretrained("z2cnn.mine")(new)
    assert origin == {
        "from": "z2cnn.mine", "model": "z2cnn", "data": None, "drawn": ["classifier.weight", "classifier.bias"]
    }  # fmt: skip
    assert torch.equal(next(new.parameters()), next(given.parameters()))
    with pytest.raises(FileNotFoundError, match=r"did you mean z2cnn\.mine"):
        pretrained("z2cnn.mime")

"""A network in a folder: bit for bit, whole or not at all, and nothing in the files is ever executed."""

import copy
import errno
import json
import os
import pickle
import signal
import stat

import pytest
import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

import sepgconv
from sepgconv.models import RotMNISTCNN, RotMNISTCNNConfig
from sepgconv.nn import GroupBatchNorm2d, GroupConv2d
from tests.forks import ended, fork

pytestmark = pytest.mark.usefixtures("shallow_resnets")
FILES = ["config.json", "model.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", sepgconv.list_models())
@pytest.mark.covering(1)
def test_round_trip_bit_for_bit(stirred_model, tmp_path, name, dtype, assert_same_network):
    model = stirred_model(name).to(dtype)
    folder = sepgconv.save(model, str(tmp_path / "new" / "folder"))
    assert folder == tmp_path / "new" / "folder"
    assert sorted(os.listdir(folder)) == FILES
    found = sepgconv.load(str(folder))
    assert_same_network(found, model)
    assert not found.training
    x = torch.randn(2, model.in_channels, 28, 28).to(dtype)
    assert torch.equal(found(x), model(x))


def test_round_trip_keeps_every_option_and_the_counters(tmp_path, assert_same_network):
    options = {"group": "p4", "execution": "composed", "head": "invariant", "downsampling": "exact", "in_channels": 1}
    model = sepgconv.create_model("gc_p4m_resnet44", widths=(1, 2, 3), num_classes=3, **options)
    model.train()(torch.randn(4, 1, 16, 16))  # counts a batch, moves the statistics
    found = sepgconv.load(sepgconv.save(model, tmp_path))
    assert model.training  # saving does not change the mode
    assert_same_network(found, model)
    assert found.state_dict()["norm.0.num_batches_tracked"] == 1
    assert found.blocks[3].residual[1][2].execution == "composed"


def test_round_trip_of_mixed_precision(stirred_model, tmp_path, assert_same_network):
    """Norms kept in float32 between bfloat16 convolutions: every tensor keeps its type."""
    model = stirred_model("gc_p4cnn").to(torch.bfloat16)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.float()
    assert_same_network(sepgconv.load(sepgconv.save(model, tmp_path)), model)


def test_a_loaded_network_can_be_trained_and_saved_again(saved, tmp_path, assert_same_network):
    _, folder = saved
    model = sepgconv.load(folder).train()
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(4, 1, 28, 28, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.classifier.parameters())
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    again = sepgconv.load(sepgconv.save(model, tmp_path / "again"))
    assert_same_network(again, model)
    assert not torch.equal(again.classifier.weight, before["classifier.weight"])


def test_saving_writes_what_the_network_was_at_that_moment(saved, assert_same_network):
    model, folder = saved
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert_same_network(sepgconv.load(folder), expected)


def test_copies_can_be_saved(saved, tmp_path, assert_same_network):
    model, _ = saved
    for index, twin in enumerate((copy.deepcopy(model), pickle.loads(pickle.dumps(model)))):
        assert_same_network(sepgconv.load(sepgconv.save(twin, tmp_path / str(index))), model)


def test_the_files_say_what_they_are(saved):
    model, folder = saved
    described = json.loads((folder / "config.json").read_text())
    assert described == {"format": 1, "name": "gc_p4cnn", "config": model.config}
    assert set(load_file(folder / "model.safetensors")) == set(model.state_dict())


def test_saving_again_replaces_the_network(saved, stirred_model, assert_same_network):
    _, folder = saved
    other = stirred_model("p4cnn", width=2, seed=1)
    sepgconv.save(other, folder)
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), other)


def test_what_create_model_did_not_build_is_refused(tmp_path):
    bare = RotMNISTCNN(RotMNISTCNNConfig(width=2, group="p4", sharing="gc"))
    for model in (bare, nn.Linear(2, 2), nn.Sequential(sepgconv.create_model("z2cnn", width=2))):
        with pytest.raises(ValueError, match=rf"{type(model).__name__}.*create_model"):
            sepgconv.save(model, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_network_changed_since_it_was_built_is_refused_rather_than_lost(tmp_path):
    """Its config no longer says how to build it, so `load` could not read it back."""
    model = sepgconv.create_model("gc_p4cnn", width=2)
    model.classifier = nn.Linear(2, 5)
    with pytest.raises(ValueError, match="classifier"):
        sepgconv.save(model, tmp_path)


def first(model, kind):
    return next(module for module in model.modules() if type(module) is kind)


def replace_first_activation(model):
    parent, name = next((p, n) for p in model.modules() for n, c in p.named_children() if isinstance(c, nn.ReLU))
    setattr(parent, name, nn.Tanh())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda model: first(model, GroupConv2d).register_forward_hook(lambda module, given, output: 2 * output),
            r"layer 'features.1.0' \(GroupConv2d\) has a forward hook .* that changes",
        ),
        (lambda model: model.register_forward_pre_hook(lambda module, given: -given[0]), r"the network .* pre-hook"),
        (
            lambda model: setattr(first(model, GroupConv2d), "forward", nn.Identity().forward),
            r"'features.1.0' .* put in",
        ),
        (lambda model: setattr(first(model, GroupBatchNorm2d), "eps", 0.5), r"GroupBatchNorm2d\) has other settings"),
        (replace_first_activation, r"\(Tanh\) is no ReLU"),
        (
            lambda model: setattr(
                first(model, GroupConv2d), "__class__", type("Mine", (GroupConv2d,), {"forward": lambda self, x: x})
            ),
            r"layer 'features.1.0' \(Mine\) has a forward of its own",
        ),
    ],
)
def test_what_the_files_do_not_keep_is_refused_rather_than_lost(change, words, tmp_path):
    model = sepgconv.create_model("p4cnn", width=2)
    change(model)
    with pytest.raises(ValueError, match=rf"^save: the network was changed since create_model built it: .*{words}"):
        sepgconv.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_hooks_that_only_look_do_not_keep_a_network_from_being_saved(tmp_path, assert_same_network):
    model, seen = sepgconv.create_model("p4cnn", width=2), []
    first(model, GroupConv2d).register_forward_hook(lambda module, given, output: seen.append(output.shape))
    first(model, GroupConv2d).register_full_backward_hook(lambda module, given, taken: None)
    sepgconv.save(model, tmp_path / "model")
    assert model.training
    assert_same_network(model, sepgconv.load(tmp_path / "model"))


def test_a_subclass_that_only_prints_otherwise_can_be_saved(tmp_path, assert_same_network):
    model = sepgconv.create_model("p4cnn", width=2)
    first(model, GroupConv2d).__class__ = type("Mine", (GroupConv2d,), {"extra_repr": lambda self: "mine"})
    sepgconv.save(model, tmp_path / "model")
    assert_same_network(model, sepgconv.load(tmp_path / "model"))


# Failures while writing.


def disk_full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failure_while_writing_the_weights_keeps_the_old_network(
    saved, stirred_model, monkeypatch, assert_same_network
):
    model, folder = saved

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        sepgconv.save(stirred_model("p4cnn"), folder)
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), model)


def test_a_failure_while_writing_the_config_keeps_the_old_network(
    saved, stirred_model, monkeypatch, assert_same_network
):
    model, folder = saved
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        real(descriptor) if len(calls) == 1 else disk_full()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        sepgconv.save(stirred_model("p4cnn"), folder)
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), model)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_failure_while_renaming_keeps_the_old_network(saved, stirred_model, monkeypatch, nth, assert_same_network):
    model, folder = saved
    replace, calls = os.replace, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == nth:
            raise PermissionError(errno.EACCES, "locked by another program", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(PermissionError):
        sepgconv.save(stirred_model("p4cnn"), folder)
    monkeypatch.undo()
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), model)


def test_an_interruption_leaves_no_stray_files(saved, stirred_model, monkeypatch, assert_same_network):
    model, folder = saved

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sepgconv.save(stirred_model("p4cnn"), folder)
    monkeypatch.undo()
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), model)


def save_on_a_full_disk(folder):
    """Save a network where no file may have more than 2,000 bytes; say what comes of it."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model = sepgconv.create_model("p4cnn", width=3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        sepgconv.save(model, folder)
    except OSError:
        print("OSError")


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
def test_a_full_disk_is_an_os_error_and_keeps_the_old_network(saved, assert_same_network, tmp_path):
    """A real one, not one that the test raises."""
    model, folder = saved
    assert ended(fork(save_on_a_full_disk, folder, stdout=tmp_path / "said")) == 0
    assert sorted(os.listdir(folder)) == FILES
    assert_same_network(sepgconv.load(folder), model)
    assert (tmp_path / "said").read_text() == "OSError\n"


def test_the_files_may_be_read_by_whom_the_umask_lets(stirred_model, tmp_path):
    before = os.umask(0o022)
    try:
        folder = sepgconv.save(stirred_model("p4cnn"), tmp_path / "net")
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(FILES, 0o644)


def test_the_weights_are_on_the_disk_before_they_have_their_name(stirred_model, tmp_path, monkeypatch):
    """Else a power cut after the training could leave a record with an empty network."""
    synced, real = [], os.fsync

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, sorted(os.listdir(tmp_path / "net"))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = sepgconv.save(stirred_model("p4cnn"), tmp_path / "net")
    sizes = [size for size, names in synced if not set(names) & set(FILES)]
    assert sorted(sizes) == sorted(path.stat().st_size for path in folder.iterdir())


def test_what_a_save_that_was_killed_left_is_gone_after_the_next(saved):
    model, folder = saved
    for name in FILES:
        (folder / f".{name}.0123456789abcdef.part").write_bytes(b"half")
    sepgconv.save(model, folder)
    assert sorted(os.listdir(folder)) == FILES


def test_a_folder_that_is_a_file_is_refused(saved, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        sepgconv.save(saved[0], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_oracle_of_these_tests_sees_one_bit(saved, assert_same_network):
    """Negative control: the comparison fails on the smallest change of one weight."""
    model, folder = saved
    found = sepgconv.load(folder)
    with torch.no_grad():
        found.classifier.bias[0] = torch.nextafter(found.classifier.bias[0], torch.tensor(torch.inf).double())
    with pytest.raises(AssertionError, match=r"classifier\.bias"):
        assert_same_network(found, model)


def test_safetensors_is_what_reads_the_weights(saved):
    """Any other reader of the format sees the same numbers."""
    model, folder = saved
    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        weights = file.get_tensor("classifier.weight")
    assert (weights == model.classifier.weight.detach().numpy()).all()

"""`to_program`: files of torch.export that run without the package, compared before they are there."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

# Programs are of the package as installed: torch.export cannot read through the checks of annotations.
SIDE = 12


@pytest.fixture(scope="module")
def convert(as_installed):
    return as_installed.convert


@pytest.fixture
def model(as_installed, stir):
    """A network with a residual sum, a pool over poses and a head for pictures of any size; in evaluation mode."""
    snn = as_installed.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = snn.GroupBatchNorm2d(3), snn.SeparableGroupConv2d(3, 3, 3, "p4", padding=1)

        def forward(self, x):
            return x + self.conv(self.norm(x).relu())

    head = [snn.GroupMaxPool(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)]
    return stir(nn.Sequential(snn.LiftingConv2d(1, 3, 3, "p4"), Block(), snn.MaxPool2d(2), *head))


WITHOUT_US = """
import sys, torch
from pathlib import Path
sys.modules["sepgconv"] = None
folder = Path(sys.argv[1])
x, expected = torch.load(folder / "expected.pt", weights_only=True)
def same(network, batch=None):
    torch.testing.assert_close(network(x[:batch]), expected[:batch], rtol=1e-4, atol=1e-5)
same(torch.load(folder / "plain.pt", weights_only=False))
for name in ("plain.pt2", "own.pt2"):
    program = torch.export.load(folder / name).module()
    same(program)
    same(program, 1)
try:
    torch.load(folder / "ours.pt", weights_only=False)
except ImportError:
    print("all but ours run")
"""


def test_what_is_written_runs_where_the_package_is_not(convert, model, tmp_path):
    """Ordinary layers in a pickle and in a program, and a program of our layers; the network itself does not."""
    x = torch.randn(3, 1, SIDE, SIDE)
    torch.save((x, model(x).detach()), tmp_path / "expected.pt")
    torch.save(convert.to_plain(model, input_shape=(1, SIDE, SIDE)), tmp_path / "plain.pt")
    torch.save(model[0], tmp_path / "ours.pt")
    plain = convert.to_program(model, tmp_path / "plain.pt2", input_shape=(1, SIDE, SIDE))
    own = convert.to_program(model, tmp_path / "own.pt2", plain=False, input_shape=(1, SIDE, SIDE))
    assert plain.free == ("batch", "height", "width")
    assert own.free == ("batch",)
    assert plain.bytes == (tmp_path / "plain.pt2").stat().st_size
    assert 0 <= plain.difference < 1e-5
    words = [sys.executable, "-W", "error", "-c", WITHOUT_US, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "all but ours run"


def test_pictures_of_any_size_where_the_network_takes_them(convert, model, tmp_path):
    written = convert.to_program(model, tmp_path / "net.pt2", input_shape=(1, SIDE, SIDE))
    program = torch.export.load(written.path).module()
    for shape in [(1, 1, 5, 6), (4, 1, 30, 17)]:
        x = torch.randn(shape)
        torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-5)
    fixed = nn.Sequential(*model[:4], nn.Flatten(), nn.Linear(3 * 25, 2)).eval()
    written = convert.to_program(fixed, tmp_path / "fixed.pt2", input_shape=(1, SIDE, SIDE))
    assert written.free == ("batch",)


def test_a_program_of_own_layers_keeps_their_weights(convert, model, tmp_path):
    written = convert.to_program(model, tmp_path / "own.pt2", plain=False, input_shape=(1, SIDE, SIDE))
    state = torch.export.load(written.path).state_dict
    assert set(state) == set(model.state_dict())
    assert torch.equal(state["1.conv.pointwise"], model[1].conv.pointwise)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.covering(1)
def test_other_precisions(convert, model, tmp_path, plain, dtype):
    """A program has the precision of its network; images of another one are brought into it for the comparison."""
    model = model.to(dtype)
    images = torch.rand(2, 1, SIDE, SIDE)
    written = convert.to_program(model, tmp_path / "net.pt2", plain=plain, input_shape=(1, SIDE, SIDE), images=images)
    assert written.difference < (1e-12 if dtype == torch.float64 else 0.02)
    x = images.to(dtype)
    found, expected = torch.export.load(written.path).module()(x), model(x).detach()
    assert found.dtype == dtype
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=largest * (1e-12 if dtype == torch.float64 else 0.02))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.covering(1)
def test_a_small_fault_is_found_in_half_precision(convert, model, tmp_path, monkeypatch, dtype, plain):
    """One percent, which is less than bfloat16 rounds to in a deep network."""
    save = torch.export.save

    def scaled(program, file):
        program.state_dict["6.weight"].data.mul_(1.01)
        save(program, file)

    monkeypatch.setattr(torch.export, "save", scaled)
    with pytest.raises(ValueError, match="differs from the network"):
        convert.to_program(model.to(dtype), tmp_path / "net.pt2", plain=plain, input_shape=(1, SIDE, SIDE))
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import functools, resource, signal, sys, torch, sepgconv
from pathlib import Path
from sepgconv.convert import to_onnx, to_program
net = torch.nn.Sequential(sepgconv.nn.LiftingConv2d(1, 8, 3, "p4"), sepgconv.nn.GroupMaxPool()).eval()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # no file longer than this can be written
writers = {"plain.pt2": to_program, "own.pt2": functools.partial(to_program, plain=False), "net.onnx": to_onnx}
for name, write in writers.items():
    try:
        write(net, Path(sys.argv[1], name), input_shape=(1, 12, 12))
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    pytest.importorskip("resource")
    pytest.importorskip("onnxruntime")
    paths = [tmp_path / name for name in ("plain.pt2", "own.pt2", "net.onnx")]
    for path in paths:
        path.write_bytes(b"what was there before")
    command = [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"OSError: [Errno 27] File too large: '{path}'" for path in paths]
    assert all(path.read_bytes() == b"what was there before" for path in paths)
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_the_file_is_put_there_as_any_other(convert, model, tmp_path):
    """A mode that the umask leaves, no link followed, nothing left beside."""
    import os

    (tmp_path / "aim").write_bytes(b"somebody else's")
    for name in (f".{os.getpid()}.net.pt2", ".net.pt2.part", "net.pt2"):
        (tmp_path / name).symlink_to(tmp_path / "aim")
    before = os.umask(0o027)
    try:
        convert.to_program(model, tmp_path / "net.pt2", input_shape=(1, SIDE, SIDE))
    finally:
        os.umask(before)
    assert (tmp_path / "aim").read_bytes() == b"somebody else's"
    assert (tmp_path / "net.pt2").stat().st_mode & 0o777 == 0o640
    assert not (tmp_path / "net.pt2").is_symlink()
    assert len(list(tmp_path.iterdir())) == 4


def other_program(program):
    """A program that answers otherwise."""

    class Other(nn.Module):
        def forward(self, x):
            return program(x) + 0.01

    return torch.export.export(Other(), (torch.randn(2, 1, SIDE, SIDE),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


def test_a_file_that_answers_otherwise_is_not_left(convert, model, tmp_path, monkeypatch):
    (tmp_path / "net.pt2").write_bytes(b"what was there before")
    save = torch.export.save
    monkeypatch.setattr(torch.export, "save", lambda program, path: save(other_program(program.module()), path))
    with pytest.raises(ValueError, match=r"differs from the network by .* no file was written"):
        convert.to_program(model, tmp_path / "net.pt2", input_shape=(1, SIDE, SIDE))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]
    assert (tmp_path / "net.pt2").read_bytes() == b"what was there before"


def test_further_images_are_compared_too(convert, model, tmp_path):
    strange = torch.full((1, 1, SIDE, SIDE), float("nan"))
    with pytest.raises(ValueError, match="differs from the network by inf"):
        convert.to_program(model, tmp_path / "net.pt2", input_shape=(1, SIDE, SIDE), images=strange)
    assert list(tmp_path.iterdir()) == []


def test_refusals(convert, model, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.pt2, got 'net\.onnx'"):
        convert.to_program(model, tmp_path / "net.onnx")
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        convert.to_program(model, tmp_path / "folder.pt2", input_shape=(1, SIDE, SIDE))

    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    decides = nn.Sequential(model, Decides())
    with pytest.raises(ValueError, match=r"torch\.export cannot read Sequential"):
        convert.to_program(decides, tmp_path / "a.pt2", plain=False, input_shape=(1, SIDE, SIDE))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["folder.pt2"]

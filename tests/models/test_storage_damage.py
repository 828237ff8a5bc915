"""Folders that cannot be read: what is missing, damaged, foreign, hostile or of the future is named and refused."""

import errno
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sepgconv
from tests.covering import each

FILES = ["config.json", "model.safetensors"]


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_named(saved, missing):
    _, folder = saved
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=rf"net.*{missing}"):
        sepgconv.load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*sepgconv\.save"):
        sepgconv.load(tmp_path / "nowhere")


@each(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"gc_p4cnn"',
        b"null",
        b"{}",
        b'{"format": 1, "name": "gc_p4cnn"}',
        b'{"format": 1, "name": "gc_p4cnn", "config": 3}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        pickle.dumps({"name": "gc_p4cnn"}),
    ],
)
def test_a_damaged_config_is_named(saved, content):
    _, folder = saved
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        sepgconv.load(folder)


@pytest.mark.parametrize("edit", ["cut", "empty", "zeros", "header", "text"])
def test_damaged_weights_are_named(saved, edit):
    _, folder = saved
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-100],
            "empty": b"",
            "zeros": bytes(len(whole)),
            "header": whole[:20] + b"\xff" + whole[21:],
            "text": b"<html>404 Not Found</html>",
        }[edit]
    )
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        sepgconv.load(folder)


class Payload:
    """What a hostile file would hold: unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("file", FILES)
def test_a_pickle_is_refused_and_not_executed(saved, tmp_path, file):
    _, folder = saved
    proof = tmp_path / "executed"
    torch.save(Payload(proof), tmp_path / "zip")
    for content in (pickle.dumps(Payload(proof)), (tmp_path / "zip").read_bytes()):
        (folder / file).write_bytes(content)
        with pytest.raises(ValueError, match=file.replace(".", r"\.")):
            sepgconv.load(folder)
        assert not proof.exists()
    pickle.loads(pickle.dumps(Payload(proof)))  # the payload does work
    assert proof.exists()


def rewrite(folder, *, config=None, state=None, header=True):
    """Write a folder by hand, past the checks of `save`."""
    described = json.loads((folder / "config.json").read_text()) if config is None else config
    state = load_file(folder / "model.safetensors") if state is None else state
    (folder / "config.json").write_text(json.dumps(described))
    metadata = {"sepgconv": json.dumps(described)} if header else None
    save_file(state, folder / "model.safetensors", metadata=metadata)


def test_weights_without_our_header_are_read(saved, assert_same_network):
    """As other tools write them."""
    model, folder = saved
    rewrite(folder, header=False)
    assert_same_network(sepgconv.load(folder), model)


@pytest.mark.parametrize("file", FILES)
def test_files_of_two_networks_are_refused(saved, stirred_model, tmp_path, file):
    """Even of two whose tensors have the same shapes."""
    _, folder = saved
    for other in (stirred_model("p4cnn"), stirred_model("gc_p4cnn", execution="composed")):
        mixed = tmp_path / f"{other.name}-mixed"
        shutil.copytree(folder, mixed)
        shutil.copy(sepgconv.save(other, tmp_path / "other") / file, mixed)
        with pytest.raises(ValueError, match="together"):
            sepgconv.load(mixed)


@pytest.mark.parametrize("change", ["fewer", "more", "another shape", "another width"])
def test_weights_that_do_not_fit_the_config_are_refused(saved, stirred_model, change):
    _, folder = saved
    state = load_file(folder / "model.safetensors")
    if change == "fewer":
        del state["classifier.bias"]
    elif change == "more":
        state["classifier.scale"] = torch.ones(3)
    elif change == "another shape":
        state["classifier.bias"] = torch.ones(11)
    else:
        state = {key: value.contiguous() for key, value in stirred_model("gc_p4cnn", width=5).state_dict().items()}
    rewrite(folder, state=state, header=False)
    with pytest.raises(ValueError, match=r"net.*model\.safetensors.*config\.json.*tensors? differ") as error:
        sepgconv.load(folder)
    if change != "another width":
        assert "classifier." in str(error.value)


@pytest.mark.usefixtures("unchecked")
@each(
    ("config", "message"),
    [
        ({"format": 2, "name": "gc_p4cnn", "config": {}}, "format 2.*update"),
        ({"format": 2, "architecture": "of the future"}, "format 2.*update"),
        ({"format": 1, "name": "gc_p5cnn", "config": {}}, "'gc_p5cnn'.*'gc_p4cnn'"),
        ({"format": 1, "name": "gc_p4cnn", "config": {"depth": 3}}, "'depth'"),
        ({"format": 1, "name": "gc_p4cnn", "config": {"width": "wide"}}, "width.*'wide'"),
        ({"format": 1, "name": "gc_p4cnn", "config": {"group": "p8"}}, "'p8'"),
        ({"format": 1, "name": "gc_p4m_resnet44", "config": {"widths": 3}}, "widths"),
        ({"format": 1, "name": ["gc_p4cnn"], "config": {}}, "gc_p4cnn"),
    ],
)
def test_a_config_this_version_cannot_build_is_refused(saved, config, message):
    _, folder = saved
    rewrite(folder, config=config)
    with pytest.raises(ValueError, match=message):
        sepgconv.load(folder)


@pytest.mark.parametrize("version", [None, 0, "1"])
def test_only_a_newer_format_is_answered_with_update(saved, version):
    """An update does not help where the format is missing or nonsense."""
    _, folder = saved
    described = json.loads((folder / "config.json").read_text())
    rewrite(folder, config={**described, "format": version})
    with pytest.raises(ValueError, match=r"config\.json") as error:
        sepgconv.load(folder)
    assert "update" not in str(error.value)


def test_a_damaged_header_of_the_weights_is_named(saved):
    _, folder = saved
    state = load_file(folder / "model.safetensors")
    save_file(state, folder / "model.safetensors", metadata={"sepgconv": "{cut"})
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        sepgconv.load(folder)


def test_weights_of_another_kind_are_refused(saved):
    """Integers in the place of weights would load, and be rounded for ever."""
    _, folder = saved
    state = {key: value.round().to(torch.int32) for key, value in load_file(folder / "model.safetensors").items()}
    rewrite(folder, state=state, header=False)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        sepgconv.load(folder)


def flipped(content, bit):
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_bit_is_named_or_changes_nothing(saved, file, assert_same_network):
    """Neither format has a checksum of its own; a flipped bit of a weight gave other answers without a word."""
    model, folder = saved
    whole = (folder / file).read_bytes()
    bits = random.Random(0).sample(range(8 * len(whole)), 60)
    noticed = 0
    for bit in bits:
        (folder / file).write_bytes(flipped(whole, bit))
        try:
            assert_same_network(sepgconv.load(folder), model)
        except ValueError as error:
            noticed += file in str(error)
            assert file in str(error), error  # noqa: PT017
    assert noticed > 45


def test_a_bit_of_a_weight_of_an_older_version_is_read_with_a_warning(saved):
    """It kept no digest, so nothing can notice; whoever reads it is told."""
    model, folder = saved
    described = json.loads((folder / "config.json").read_text())
    save_file(
        load_file(folder / "model.safetensors"), folder / "model.safetensors", {"sepgconv": json.dumps(described)}
    )
    with pytest.warns(UserWarning, match=r"net/model\.safetensors was written by an older version.+no digest"):
        found = sepgconv.load(folder)
    sepgconv.save(found, folder)
    assert torch.equal(sepgconv.load(folder).classifier.bias, model.classifier.bias)


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "place", "metadata"])
def test_the_digest_covers_all_that_the_header_says(saved, change):
    _, folder = saved
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    a, b = "features.0.0.bias", "features.1.0.bias"
    if change == "name":
        header[a], header[b] = header[b], header[a]
    elif change == "dtype":
        header[a]["dtype"] = "I64"
    elif change == "shape":
        header[a]["shape"] = [*header[a]["shape"], 1]
    elif change == "place":
        header[a]["data_offsets"], header[b]["data_offsets"] = header[b]["data_offsets"], header[a]["data_offsets"]
    else:
        header["__metadata__"]["note"] = "added later"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged \(its contents are not those that its digest"):
        sepgconv.load(folder)


def test_what_may_not_be_read_is_not_called_damaged(saved, monkeypatch):
    _, folder = saved
    read = Path.read_bytes

    def refuse(self):
        if self.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: .+model\.safetensors"):
        sepgconv.load(folder)


def test_a_path_that_is_no_text_can_be_written_and_read(stirred_model, tmp_path, assert_same_network):
    model = stirred_model("gc_p4cnn")
    assert_same_network(sepgconv.load(sepgconv.save(model, tmp_path / os.fsdecode(b"caf\xe9"))), model)

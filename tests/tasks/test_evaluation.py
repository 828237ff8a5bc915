import shutil

import pytest
import torch
from torch import nn

from sepgconv.data import Split
from sepgconv.tasks import evaluate, load_run
from tests.covering import each


class Brightest(nn.Module):
    """The class of an image is its brightest pixel; the parameter only says where and in which precision."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=dtype))

    def forward(self, images):
        return images.flatten(1) * self.scale


def pixels(labels, brightest):
    images = torch.zeros(len(labels), 1, 2, 2)
    images.flatten(1)[torch.arange(len(labels)), torch.tensor(brightest)] = 1
    return Split(images, torch.tensor(labels))


@each("batch_size", [1, 3, 100])
@each("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_error_is_the_share_of_wrong_classes_in_percent(batch_size, dtype):
    assert evaluate(Brightest(dtype), pixels([0, 1, 2, 3, 3], [0, 1, 2, 3, 0]), batch_size=batch_size) == 20.0


def test_the_mode_of_the_network_is_left_as_it_was():
    model = nn.Sequential(Brightest(), nn.BatchNorm1d(4))
    statistics = model[1].running_mean.clone()
    evaluate(model, pixels([0, 1], [0, 1]))
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    model.eval()
    evaluate(model, pixels([0, 1], [0, 1]))
    assert not model.training


def test_labels_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match="knows 4 classes, but an image is labelled 4; is it another data set"):
        evaluate(Brightest(), pixels([0, 4], [0, 1]))


def test_images_of_another_shape_are_refused(undisturbed):
    split = Split(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"trained on images of shape \(1, 28, 28\).+got \(3, 32, 32\)"):
        evaluate(load_run(undisturbed.folder), split)


def test_what_is_no_run_is_said(tmp_path, undisturbed):
    with pytest.raises(FileNotFoundError, match=r"is no folder; expected a folder that `sepgconv train` made"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no run; expected a folder that `sepgconv train` made"):
        load_run(tmp_path)
    shutil.copytree(undisturbed.folder, tmp_path / "run")
    (tmp_path / "run" / "record.json").write_text("{}")
    with pytest.raises(ValueError, match=r"record\.json is not a run's record: the run's record lacks model, width"):
        load_run(tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not finished; continue it with resume=True \(--resume\)"):
        load_run(tmp_path / "run")

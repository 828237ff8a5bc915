"""Messages in the words of the command line, and what the command line offers to those who mistype."""

import pytest
from typer.testing import CliRunner

from sepgconv.cli.app import app
from sepgconv.cli.wording import in_options, option_names
from tests.covering import each

OPTIONS = ("--image-size", "--devices", "--resume", "--force", "--data", "--batch-size", "--hold-out")


@each(
    ("sentence", "said"),
    [
        ("accept it with force=True (--force); or go on", "accept it with --force; or go on"),
        ("cannot train with devices=0: too few", "cannot train with --devices 0: too few"),
        ("give a smaller image_size, or fewer images", "give a smaller --image-size, or fewer images"),
        ("batch_size must be 2", "--batch-size must be 2"),
        ("leave hold_out at True", "leave --hold-out at True"),
        # What a user typed, a path, or a word that is no option, stays.
        ("unknown model 'image_size'", "unknown model 'image_size'"),
        ("there is no folder /home/image_size/data", "there is no folder /home/image_size/data"),
        ("data_dir/image_size.png", "data_dir/image_size.png"),
        ("the data are others", "the data are others"),
        ("unknown training option 'epoch' (valid: data, batch_size)",) * 2,
        ("pad_value=3 is no option", "pad_value=3 is no option"),
    ],
)
def test_arguments_of_python_become_options(sentence, said):
    assert in_options(sentence, OPTIONS) == said


def test_all_options_are_known():
    assert {"--image-size", "--resume", "--top-k", "--opset", "--json"} <= option_names(app)


@pytest.mark.parametrize(
    ("words", "near"),
    [(("train", "z2cnn", "--epoch", "3"), "--epochs"), (("predict", "run", "a.png", "--topk", "3"), "--top-k")],
)
def test_a_wrong_option_names_the_nearest(words, near):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert near in result.output


def test_the_shell_completes_names():
    from sepgconv.cli.options import complete_data, complete_model

    assert complete_model("gc_p4m_") == ["gc_p4m_resnet44"]
    assert complete_data("rotated") == ["rotated_digits"]
    help_of_shells = CliRunner().invoke(app, ["--help"]).output
    assert "--install-completion" in help_of_shells

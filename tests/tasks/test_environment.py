import subprocess

import pytest
import torch

from sepgconv.tasks import environment


def git(folder, *arguments):
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit that holds a package."""
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(environment, "PACKAGE", package)
    return tmp_path


def test_the_commit_is_that_of_the_packages_checkout(checkout):
    assert environment.git_commit() == git(checkout, "rev-parse", "HEAD")


def test_a_change_to_the_package_shows(checkout):
    commit = environment.git_commit()
    (checkout / "notes").touch()
    assert environment.git_commit() == commit  # not of the package
    (checkout / "src" / "package" / "new.py").touch()
    assert environment.git_commit() == f"{commit}+dirty"


def test_a_copy_in_another_projects_checkout_has_no_commit(checkout, monkeypatch):
    installed = checkout / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    monkeypatch.setattr(environment, "PACKAGE", installed)
    assert environment.git_commit() is None


def test_no_repository_or_no_git_is_no_commit(tmp_path, checkout, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert environment.git_commit() is None
    (checkout / ".git").rename(checkout / "gone")
    assert environment.git_commit() is None


def test_the_peak_of_memory_is_in_bytes_and_grows():
    before = environment.peak_memory_bytes(torch.device("cpu"))
    block = torch.ones(before // 4 + 25_000_000)  # as much as the peak was, and 100 MB
    after = environment.peak_memory_bytes(torch.device("cpu"))
    assert after >= before + 0.9 * 100e6
    assert after < before + 3 * block.nbytes


def test_the_processor_has_a_name():
    assert environment.device_name(torch.device("cpu"))
    assert environment.device_name(torch.device("meta")) == "meta"

import warnings
from collections.abc import Callable
from pathlib import Path

import pooch
import pytest

from sepgconv.data.download import (
    DownloadError,
    RemoteFile,
    fetch,
    find_intact,
    find_or_fetch,
    search_places,
)

Publish = Callable[..., RemoteFile]


def test_the_places_are_the_users_folders_then_ours(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    places = search_places(tmp_path, ["mnist"])
    assert places.user == (tmp_path, tmp_path / "mnist")
    assert places.ours == (tmp_path / "downloads", cache)
    assert search_places(None).ours == (cache,)
    assert search_places(None).user == ()
    monkeypatch.setenv("SEPGCONV_DATA", str(tmp_path))
    assert search_places(None, ["mnist"]) == places
    assert search_places(tmp_path / "other").user == (tmp_path / "other",)


def test_a_file_is_found_in_every_place_without_a_download(tmp_path: Path, cache: Path, publish: Publish):
    for folder in (tmp_path, tmp_path / "sub", tmp_path / "downloads", cache):
        file = publish(folder / "data.bin", b"content", ("http://127.0.0.1:9/data.bin",))
        assert find_or_fetch(file, search_places(tmp_path, ["sub"]), download=True) == folder / "data.bin"
        (folder / "data.bin").unlink()


def test_a_missing_file_is_fetched_once_into_the_data_folder(
    tmp_path: Path,
    server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture,
):
    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])  # its own writes to the stderr of import time
    file = server.publish("data.bin", b"x" * 5000)
    places = search_places(tmp_path / "new")
    path = find_or_fetch(file, places, download=True)
    assert path == tmp_path / "new" / "downloads" / "data.bin"
    assert path.read_bytes() == b"x" * 5000
    assert find_or_fetch(file, places, download=True) == path
    assert server.requests == ["data.bin"]
    assert file.urls[0] in caplog.text  # says what it downloads ...
    assert "100%" in capfd.readouterr().err  # ... and shows a progress bar


def test_a_damaged_file_of_ours_is_named_removed_and_fetched_again(cache: Path, server):
    file = server.publish("data.bin", b"good")
    cache.mkdir()
    (cache / "data.bin").write_bytes(b"evil")
    with pytest.warns(UserWarning, match=r"user-cache.data\.bin is damaged .* and was removed"):
        path = find_or_fetch(file, search_places(None), download=True)
    assert path == cache / "data.bin"
    assert path.read_bytes() == b"good"
    assert server.requests == ["data.bin"]


def test_a_damaged_file_of_ours_is_removed_even_without_network(cache: Path, publish: Publish):
    file = publish(cache / "data.bin", b"good")
    (cache / "data.bin").write_bytes(b"evil")
    with (
        pytest.warns(UserWarning, match="was removed"),
        pytest.raises(FileNotFoundError, match=r"no intact data\.bin in"),
    ):
        find_or_fetch(file, search_places(None), download=False)
    assert not (cache / "data.bin").exists()


def test_a_damaged_file_of_the_user_is_named_renamed_and_not_used(tmp_path: Path, server):
    file = server.publish("data.bin", b"good")
    (tmp_path / "data.bin").write_bytes(b"evil")
    with pytest.warns(UserWarning, match=r"data\.bin is damaged .* and was renamed to data\.bin\.damaged"):
        path = find_or_fetch(file, search_places(tmp_path), download=True)
    assert path == tmp_path / "downloads" / "data.bin"
    assert path.read_bytes() == b"good"
    assert not (tmp_path / "data.bin").exists()
    assert (tmp_path / "data.bin.damaged").read_bytes() == b"evil"


def test_wrong_content_from_the_server_is_refused_and_not_kept(cache: Path, server):
    file = server.publish("data.bin", b"good")
    server.files["data.bin"] = b"evil"
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:\d+: what came has another checksum and was thrown away"):
        fetch(file, search_places(None))
    assert list(cache.iterdir()) == []


def test_the_second_address_is_tried(cache: Path, server):
    good = server.publish("data.bin", b"good")
    file = RemoteFile("data.bin", good.checksum, (f"{server.url}/nowhere", good.urls[0]))
    assert fetch(file, search_places(None)).read_bytes() == b"good"
    assert server.requests == ["nowhere", "data.bin"]


def test_failures_are_told_in_a_few_words(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch):
    good = server.publish("data.bin", b"good")
    file = RemoteFile("data.bin", good.checksum, (f"{server.url}/nowhere", "http://127.0.0.1:9/data.bin"))
    with pytest.raises(FileNotFoundError) as caught:
        find_or_fetch(file, search_places(tmp_path), download=True)
    message = str(caught.value)
    assert "HTTP status 404; 127.0.0.1:9: no connection" in message
    for expected in (str(tmp_path), str(tmp_path / "downloads"), f"published at {server.url}"):
        assert expected in message

    def slow(*args: object, **kwargs: object) -> None:
        from requests.exceptions import ReadTimeout

        raise ReadTimeout

    monkeypatch.setattr(pooch, "retrieve", slow)
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch(good, search_places(tmp_path))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch, "retrieve", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(good, search_places(tmp_path))


def test_nothing_is_downloaded_when_that_is_not_wanted_or_not_possible(tmp_path: Path):
    file = RemoteFile("data.bin", "md5:0", ("http://127.0.0.1:9/data.bin",))
    with pytest.raises(FileNotFoundError, match="downloading was not allowed"):
        find_or_fetch(file, search_places(tmp_path), download=False)
    with pytest.raises(FileNotFoundError, match=r"data\.bin cannot be downloaded"):
        find_or_fetch(RemoteFile("data.bin", "md5:0"), search_places(tmp_path), download=True)


def test_sha256_is_checked_too(tmp_path: Path, publish: Publish):
    publish(tmp_path / "data.bin", b"content")
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert find_intact(RemoteFile("data.bin", f"sha256:{digest}"), search_places(tmp_path)) == tmp_path / "data.bin"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert find_intact(RemoteFile("data.bin", f"sha256:{digest[::-1]}"), search_places(tmp_path)) is None

"""Runs whose files a test changes on purpose: the record's digests are made those of the new files."""

from pathlib import Path

from sepgconv._files import file_digest
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import read_record


def sealed_anew(run: Path) -> Path:
    """Return a finished run whose record has the digests of its files as they are now."""
    files = RunFolder(run)
    digests = {name: file_digest(path) for name, path in files.results.items()}
    read_record(files.record).record.write(files.record, files=digests)
    return run

"""Downloads that resume, from the tests' own server, and archives that are unpacked completely or not at all."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mixbench.cli.transfer import Meter
from mixbench.data.download import TRIES, WrongFile, download
from mixbench.data.unpack import unpack
from tests.server import Server, serving

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


class Fetching:
    """A download in a test: its server and files, and the messages and progress that it reported."""

    def __init__(self, server: Server, folder: Path):
        (server.folder / "data.bin").write_bytes(DATA)
        self.server, self.file = server, folder / "data.bin"
        self.part, self.note = (self.file.with_name(f"data.bin.part{suffix}") for suffix in ("", ".json"))
        self.said: list[str] = []
        self.shown: list[tuple[str, int, int]] = []

    def go(self, data: bytes = DATA) -> bytes:
        """Fetch the file, which must have these contents; return them.  Asserts that no other file is left."""
        md5 = hashlib.md5(data).hexdigest()
        download(
            self.server.address + "data.bin", self.file, md5, self.said.append, lambda *words: self.shown.append(words)
        )
        assert os.listdir(self.file.parent) == ["data.bin"]
        return self.file.read_bytes()

    def break_off(self, after: int) -> None:
        """Make a first attempt that fails after so many bytes."""
        self.server.breaks_after = [after, 0]
        with pytest.raises(ConnectionError, match=f"the server broke off at {after:,} of 300,000 bytes"):
            self.go()
        assert self.part.read_bytes() == DATA[:after] and not self.file.exists()
        self.server.ranges.clear()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def fetching(server: Server, tmp_path: Path) -> Fetching:
    return Fetching(server, tmp_path / "data")


def test_a_complete_file_is_requested_once_and_its_bytes_are_shown(fetching: Fetching, server: Server) -> None:
    assert fetching.go() == DATA and server.ranges == [""]
    assert fetching.shown[-2:] == [
        ("data.bin: downloading", 300_000, 300_000),
        ("data.bin: comparing its checksum", 0, 0),
    ]


def test_an_interrupted_download_resumes_by_itself_while_bytes_arrive(fetching: Fetching, server: Server) -> None:
    server.breaks_after = [100_000, 50_000]
    assert fetching.go() == DATA and server.ranges == ["", "bytes=100000-", "bytes=150000-"]
    assert fetching.said[0] == "data.bin: the server broke off at 100,000 of 300,000 bytes; resuming from there"


def test_the_next_call_resumes_an_interrupted_download(fetching: Fetching, server: Server) -> None:
    fetching.break_off(120_000)
    assert fetching.go() == DATA and server.ranges == ["bytes=120000-"]
    assert all(done > 120_000 for what, done, _ in fetching.shown[1:] if "downloading" in what and done != 120_000)


def test_a_download_that_is_interrupted_each_time_is_given_up(fetching: Fetching, server: Server) -> None:
    server.breaks_after = [1000] * 100
    with pytest.raises(ConnectionError, match="the server broke off at 5,000 of 300,000 bytes"):
        fetching.go()
    assert len(server.ranges) == TRIES == 5


def test_a_server_that_ignores_ranges_sends_the_whole_file(fetching: Fetching, server: Server) -> None:
    fetching.break_off(120_000)
    server.knows_ranges = False
    assert fetching.go() == DATA and server.ranges == ["bytes=120000-"]
    assert "data.bin: the server sends it from its beginning; starting over" in fetching.said


@pytest.mark.parametrize("length", [300_000, 299_000, 100_000])
def test_a_file_that_has_changed_on_the_server_is_fetched_from_its_beginning(
    length: int, fetching: Fetching, server: Server
) -> None:
    fetching.break_off(120_000)
    (server.folder / "data.bin").write_bytes(OTHER[:length])
    assert fetching.go(OTHER[:length]) == OTHER[:length] and server.ranges == ["bytes=120000-"]


@pytest.mark.parametrize("length", [299_000, 100_000])
def test_a_changed_file_is_noticed_by_its_length_if_the_server_sends_no_validator(
    length: int, fetching: Fetching, server: Server
) -> None:
    server.gives_marks = False
    fetching.break_off(120_000)
    (server.folder / "data.bin").write_bytes(OTHER[:length])
    assert fetching.go(OTHER[:length]) == OTHER[:length] and server.ranges == ["bytes=120000-", ""]
    assert "data.bin: the file on the server has changed; starting over" in fetching.said


def test_a_partial_file_with_a_wrong_checksum_is_discarded_and_fetched_again(
    fetching: Fetching, server: Server
) -> None:
    server.gives_marks = False
    fetching.break_off(120_000)
    (server.folder / "data.bin").write_bytes(OTHER)
    assert fetching.go(OTHER) == OTHER and server.ranges == ["bytes=120000-", ""]
    assert (
        "data.bin: its checksum is wrong; the partial download is discarded, and it is fetched again" in fetching.said
    )


def test_a_file_with_a_wrong_checksum_is_discarded_and_reported(fetching: Fetching, server: Server) -> None:
    with pytest.raises(WrongFile, match="its checksum is wrong; the download is discarded"):
        fetching.go(OTHER)
    assert server.ranges == [""] and os.listdir(fetching.file.parent) == []


def test_a_file_that_was_complete_when_the_process_died_is_not_requested_again(
    fetching: Fetching, server: Server
) -> None:
    fetching.break_off(120_000)
    fetching.part.write_bytes(DATA)
    assert fetching.go() == DATA and server.ranges == []


@pytest.mark.parametrize("note", ["", "{", "[]"])
def test_a_partial_file_without_a_valid_note_is_resumed_and_verified(
    note: str, fetching: Fetching, server: Server
) -> None:
    fetching.break_off(120_000)
    fetching.note.write_text(note)
    assert fetching.go() == DATA and server.ranges == ["bytes=120000-"]
    fetching.file.rename(fetching.part)
    assert fetching.go() == DATA and server.ranges[1:] == ["bytes=300000-", ""]


def test_a_file_of_unknown_length_is_accepted_by_its_checksum(fetching: Fetching, server: Server) -> None:
    server.gives_length = False
    assert fetching.go() == DATA
    assert ("data.bin: downloading", 300_000, 0) in fetching.shown


def test_a_file_that_the_server_does_not_have_is_an_error(fetching: Fetching, server: Server) -> None:
    (server.folder / "data.bin").unlink()
    with pytest.raises((OSError, HTTPException), match="404"):
        fetching.go()


# -- archives


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for n in range(5):
            member = tarfile.TarInfo(f"set/images/{n}.bin")
            member.size = 50_000
            tar.addfile(member, io.BytesIO(DATA[n * 50_000 :][:50_000]))
    return tmp_path / "a.tar.gz"


UNPACK = """
import os, signal, sys
from pathlib import Path
from mixbench.data.unpack import unpack

count = 0

def die(done, size):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)

unpack(Path(sys.argv[1]), Path(sys.argv[1]).parent, die)
"""


def test_an_archive_is_moved_into_place_only_when_unpacked_completely(archive: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    killed = subprocess.run([sys.executable, "-c", UNPACK, archive], check=False, env=environment)
    assert killed.returncode == -9 and not (archive.parent / "set").exists()
    (archive.parent / ".a.tar.gz.unpacked/stale").touch()
    shown: list[tuple[int, int]] = []
    unpack(archive, archive.parent, lambda *words: shown.append(words))
    assert len(shown) == 5 and shown == sorted(shown) and shown[-1][0] <= shown[-1][1] == archive.stat().st_size
    assert [(archive.parent / f"set/images/{n}.bin").read_bytes() for n in range(5)] == [
        DATA[n * 50_000 :][:50_000] for n in range(5)
    ]
    assert sorted(os.listdir(archive.parent)) == ["a.tar.gz", "set"]


def test_existing_files_are_replaced_and_others_in_their_folder_kept(archive: Path) -> None:
    images = archive.parent / "set/images"
    images.mkdir(parents=True)
    (images / "3.bin").write_bytes(b"half")
    (images / "notes").touch()
    unpack(archive, archive.parent, lambda *_: None)
    assert (images / "3.bin").stat().st_size == 50_000 and len(os.listdir(images)) == 6


def test_an_archive_writes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"))
    with pytest.raises(tarfile.TarError, match="outside the destination"):
        unpack(tmp_path / "a.tar", tmp_path / "in", lambda *_: None)


# -- what is seen


def test_a_pipe_gets_a_line_every_few_seconds() -> None:
    out = io.StringIO()
    with Meter(Console(file=out, width=200), plain_seconds=0) as meter:
        meter.say("x: http://a/[b]")
        meter.show("x.tgz: downloading", 1_500_000, 3_000_000_000)
        meter.show("x.tgz: downloading", 2_500_000, 0)
        meter.show("x.tgz: comparing its checksum", 0, 0)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[1:] == [
        "x.tgz: downloading 1.5 MB of 3.0 GB", "x.tgz: downloading 2.5 MB", "x.tgz: comparing its checksum"
    ]  # fmt: skip
    with Meter(Console(file=out, width=200)) as meter:
        meter.show("x.tgz: downloading", 1, 2)
    assert len(out.getvalue().splitlines()) == 4, "not before some seconds have passed"


def test_a_terminal_gets_a_progress_bar_below_the_lines() -> None:
    out = io.StringIO()
    with Meter(Console(file=out, width=120, force_terminal=True, markup=False)) as meter:
        meter.show("x.tgz: downloading", 3_000_000, 3_000_000)
        meter.say("x: unpacking x.tgz")
        meter.show("x.tgz: unpacking", 1_500_000, 3_000_000)
    assert "x: unpacking x.tgz\n" in out.getvalue() and "1.5/3.0 MB" in out.getvalue()

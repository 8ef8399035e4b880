"""What every blob store must do. A new one subclasses this and gives its `blobs` fixture."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import BlobExistsError, BlobStore, CiphertextMissingError

NAME = "upload/2026112401/" + "a" * 32
OTHER = "upload/2026112402/" + "b" * 32
OUTPUT = "output/2026112401/" + "c" * 32


class _CutOffError(Exception):
    pass


def write(blobs: BlobStore, name: str, content: bytes) -> None:
    with blobs.create(name) as sink:
        sink.write(content)


def read(blobs: BlobStore, name: str) -> bytes:
    with blobs.open(name) as file:
        return file.read()


class BlobStoreConformance:
    """Needs a fixture `blobs`: an empty blob store of the test's own."""

    def test_it_gives_back_what_was_written_in_parts(self, blobs: BlobStore) -> None:
        with blobs.create(NAME) as sink:
            sink.write(b"one ")
            sink.write(memoryview(b"two"))

        assert read(blobs, NAME) == b"one two"
        assert blobs.size(NAME) == 7

    def test_an_empty_blob_and_a_large_one(self, blobs: BlobStore) -> None:
        write(blobs, NAME, b"")
        write(blobs, OTHER, bytes(9 << 20))

        assert (blobs.size(NAME), read(blobs, NAME), blobs.size(OTHER)) == (0, b"", 9 << 20)

    def test_nothing_is_seen_before_the_end(self, blobs: BlobStore) -> None:
        with blobs.create(NAME) as sink:
            sink.write(b"half")

            assert list(blobs.list("")) == []
            with pytest.raises(CiphertextMissingError):
                blobs.open(NAME)

    def test_an_exception_leaves_nothing_and_passes_unchanged(self, blobs: BlobStore) -> None:
        for error in (_CutOffError("the caller's own"), OSError(28, "the caller's own"), KeyboardInterrupt()):
            with pytest.raises(type(error)) as caught, blobs.create(NAME) as sink:  # noqa: PT012 - the block is the point
                sink.write(b"half")
                raise error
            assert caught.value is error

        assert list(blobs.list("")) == []
        assert list(blobs.unfinished()) == []

    def test_writing_again_replaces_the_whole(self, blobs: BlobStore) -> None:
        write(blobs, NAME, b"a long first one")
        write(blobs, NAME, b"short")

        assert read(blobs, NAME) == b"short"

    def test_an_exclusive_write_replaces_nothing(self, blobs: BlobStore) -> None:
        with blobs.create(NAME, exclusive=True) as sink:
            sink.write(b"first")
        for content in (b"second", bytes(9 << 20)):
            with pytest.raises(BlobExistsError, match=NAME), blobs.create(NAME, exclusive=True) as sink:
                sink.write(content)

        assert read(blobs, NAME) == b"first"
        assert list(blobs.unfinished()) == []

    def test_any_part_can_be_read(self, blobs: BlobStore) -> None:
        content = bytes(range(256)) * 40
        write(blobs, NAME, content)

        with blobs.open(NAME) as file:
            for place, count in ((0, 10), (5000, 300), (3, 1), (10_239, 5), (10_240, 5), (99, -1)):
                assert file.seek(place) == place
                assert file.read(count) == (content[place:] if count < 0 else content[place : place + count])
            assert (file.seek(-7, 2), file.read()) == (10_233, content[-7:])

    def test_what_is_missing_says_so(self, blobs: BlobStore) -> None:
        with pytest.raises(CiphertextMissingError, match=NAME):
            blobs.open(NAME)
        with pytest.raises(CiphertextMissingError):
            blobs.size(NAME)
        assert blobs.delete(NAME) is False

    def test_deleting_is_for_good_and_of_one_only(self, blobs: BlobStore) -> None:
        write(blobs, NAME, b"x")
        write(blobs, OTHER, b"y")

        assert blobs.delete(NAME) is True
        assert blobs.delete(NAME) is False
        assert [blob.name for blob in blobs.list("")] == [OTHER]

    def test_deleting_takes_the_unfinished_with_it(self, blobs: BlobStore) -> None:
        with pytest.raises(CiphertextMissingError), blobs.create(NAME) as sink:  # noqa: PT012 - the block is the point
            sink.write(b"still writing")
            assert [blob.name for blob in blobs.unfinished()] == [NAME]
            assert blobs.delete(NAME) is True

        assert list(blobs.list("")) == []
        assert list(blobs.unfinished()) == []

    def test_deleting_takes_the_unfinished_of_a_large_one_with_it(self, blobs: BlobStore) -> None:
        with pytest.raises(CiphertextMissingError), blobs.create(NAME) as sink:  # noqa: PT012 - the block is the point
            for _ in range(18):
                sink.write(bytes(1 << 20))
            assert [blob.name for blob in blobs.unfinished()] == [NAME]
            assert blobs.delete(NAME) is True
            assert list(blobs.unfinished()) == []

        assert list(blobs.list("")) == []
        assert list(blobs.unfinished()) == []

    def test_it_lists_by_name_under_a_prefix_and_behind_a_name(self, blobs: BlobStore) -> None:
        names = sorted([NAME, OTHER, OUTPUT, "upload/2026112401/" + "d" * 32, "receipts/2026/11/24/1-2.jsonl"])
        for name in names:
            write(blobs, name, b"12345")

        assert [blob.name for blob in blobs.list("")] == names
        for prefix in ("upload/", "upload/2026112401/", "upload/20261124", "receipts/", "output/2026112401/cc", "x/"):
            for after in ("", *names, "upload/2026112401", "zzz"):
                expected = [name for name in names if name.startswith(prefix) and name > after]
                assert [blob.name for blob in blobs.list(prefix, after=after)] == expected

    def test_it_tells_size_and_time(self, blobs: BlobStore) -> None:
        write(blobs, NAME, b"12345")
        (found,) = blobs.list("upload/")

        assert found.size == 5
        assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=1)

    @pytest.mark.parametrize(
        "name", ["", "/etc/passwd", "../x/y", "upload/../../x", "one", "a//b", "A/b", "a/.b", "a/b+c"]
    )
    def test_a_name_that_leads_elsewhere_is_refused(self, blobs: BlobStore, name: str) -> None:
        with pytest.raises(ValueError), blobs.create(name):
            pass
        with pytest.raises(ValueError):
            blobs.open(name)
        with pytest.raises(ValueError):
            blobs.delete(name)

    def test_checking_leaves_nothing(self, blobs: BlobStore) -> None:
        blobs.check()

        assert list(blobs.list("")) == []
        assert list(blobs.unfinished()) == []

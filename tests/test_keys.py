"""The file of API keys: what it may say, who it knows, and when it is read anew."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from app.edge.api_keys import MAX_BYTES, ApiKeys, ApiKeysError, new_key, parse

FIRST, SECOND = "rfgw_first-k3y", "rfgw_second-k3y"


def line(name: str, key: str) -> str:
    return f"{name} sha256:{sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one key, of site-a."""
    path = tmp_path / "keys"
    path.write_text(line("site-a", FIRST))
    return path


def test_comments_blank_lines_and_several_keys_of_one_name_are_read() -> None:
    text = f"# ours\n\n{line('a', FIRST)}  {line('a', SECOND).strip()}  # the new one\r\n"
    assert [key.name for key in parse(text).values()] == ["a", "a"]


def test_a_key_allows_what_stands_behind_it() -> None:
    text = line("a", FIRST) + line("b", SECOND).strip() + "  accounts  # makes them\n"
    assert [key.scopes for key in parse(text).values()] == [frozenset(), {"accounts"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no keys"),
        ("# nothing\n\n", "holds no keys"),
        ("site-a\n", "line 1: must be a name, a blank and sha256:<64 hex digits>"),
        (f"site-a {FIRST}", "line 1: must be a name, a blank and sha256:<64 hex digits>"),
        (line("a", FIRST) + "b sha256:abc", "line 2: must be a name"),
        (line("a", FIRST).upper(), "line 1: must be a name"),
        (f"# x\n{line('1a', FIRST)}", "line 2: the name must be a letter, then"),
        (line("a" * 33, FIRST), "line 1: the name must be"),
        (line("ä", FIRST), "line 1: the name must be"),
        (line("a:b", FIRST), "line 1: the name must be"),
        (line("a", FIRST).strip() + " abc", "line 1: the scopes must be of accounts"),
        (line("a", FIRST).strip() + " accounts,abc", "line 1: the scopes must be of accounts"),
        (line("a", FIRST).strip() + " accounts,", "line 1: the scopes must be of accounts"),
        (line("a", FIRST).strip() + " accounts accounts", "line 1: must be a name"),
        (line("a", FIRST) + line("b", FIRST), "line 2: the same key stands in a line above"),
    ],
)
def test_what_is_wrong_is_told_by_its_line_and_never_quoted(text: str, told: str) -> None:
    with pytest.raises(ApiKeysError) as raised:
        parse(text)
    assert str(raised.value).startswith(told)
    assert "k3y" not in str(raised.value)
    assert "abc" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_text("#" * (MAX_BYTES + 1))
    for name, told in (
        ("none", "cannot be read: No such file or directory"),
        ("", "cannot be read: Is a directory"),
        ("binary", "cannot be read: not UTF-8 text"),
        ("huge", "is larger than 1048576 bytes"),
    ):
        with pytest.raises(ApiKeysError, match=f"^{told}$"):
            ApiKeys(tmp_path / name)


def test_a_key_is_known_by_its_name_and_nothing_else_is(file: Path) -> None:
    keys = ApiKeys(file)
    assert keys.name_of(FIRST.encode(), 0.0) == "site-a"
    for other in (b"", b"rfgw_first-k3Y", FIRST.encode() + b" ", b"x" * 16_000, b"\xff\x00"):
        assert keys.name_of(other, 0.0) is None
    digest = sha256(FIRST.encode())
    assert keys.name_of(digest.digest(), 0.0) is None
    assert keys.name_of(digest.hexdigest().encode(), 0.0) is None


def test_a_key_that_shares_the_beginning_of_a_digest_is_not_valid(file: Path) -> None:
    digest = sha256(FIRST.encode()).hexdigest()
    other = digest[:16] + "0" * 48
    file.write_text(f"site-a sha256:{other}")
    assert ApiKeys(file).name_of(FIRST.encode(), 0.0) is None


def test_a_changed_file_is_read_anew_within_a_second(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = ApiKeys(file)
    assert keys.name_of(SECOND.encode(), 10.0) is None
    file.write_text(line("site-a", FIRST) + line("site-b", SECOND))
    assert keys.name_of(SECOND.encode(), 10.9) is None, "it is looked at once a second"
    assert keys.name_of(SECOND.encode(), 11.0) == "site-b"
    file.write_text(line("site-b", SECOND))
    assert keys.name_of(FIRST.encode(), 12.0) is None, "a key that is gone is revoked"


def test_a_key_exchanged_in_place_is_noticed_by_its_time_alone(file: Path) -> None:
    """A line of a digest is as long as any other: the old key is revoked all the same."""
    keys, before = ApiKeys(file), file.stat()
    file.write_text(line("site-a", SECOND))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    after = file.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert keys.name_of(FIRST.encode(), 0.0) is None
    assert keys.name_of(SECOND.encode(), 0.0) == "site-a"


def test_a_file_that_is_as_it_was_is_not_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ApiKeys(file)
    monkeypatch.setattr(Path, "open", None)
    for now in range(5):
        assert keys.name_of(FIRST.encode(), float(now)) == "site-a"


def test_a_broken_new_file_keeps_the_old_keys_and_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = ApiKeys(file)
    file.write_text(f"site-b {SECOND}\n")
    for now in (1.0, 2.0, 3.0):
        assert keys.name_of(FIRST.encode(), now) == "site-a"
    (told,) = caplog.records
    assert (told.getMessage(), told.levelname) == ("api_keys_refused", "ERROR")
    assert told.__dict__["fields"]["line"] == 1
    assert told.__dict__["fields"]["reason"].startswith("must be a name")
    assert "k3y" not in str(told.__dict__)
    file.write_text(line("site-b", SECOND))
    assert keys.name_of(SECOND.encode(), 4.0) == "site-b"


@pytest.mark.parametrize("empty", [True, False])
def test_a_file_that_is_gone_or_empty_keeps_the_old_keys(
    file: Path, caplog: pytest.LogCaptureFixture, empty: bool
) -> None:
    keys = ApiKeys(file)
    if empty:
        file.write_text("")
    else:
        file.unlink()
    for now in (1.0, 2.0, 3.0):
        assert keys.name_of(FIRST.encode(), now) == "site-a"
    assert [record.getMessage() for record in caplog.records] == ["api_keys_refused"]
    file.write_text(line("site-b", SECOND))
    assert keys.name_of(FIRST.encode(), 4.0) is None
    assert keys.name_of(SECOND.encode(), 4.0) == "site-b"


def test_a_mounted_file_exchanged_behind_symbolic_links_is_read_anew(tmp_path: Path) -> None:
    """As Kubernetes does it: keys -> ..data/keys, ..data -> a folder for each version."""
    stamp = 1_700_000_000
    for version, key in (("v1", FIRST), ("v2", SECOND)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(line("site-a", key))
        os.utime(tmp_path / version / "keys", (stamp, stamp))  # of one moment and one size
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys").symlink_to("..data/keys")
    keys = ApiKeys(tmp_path / "keys")
    assert keys.name_of(FIRST.encode(), 0.0) == "site-a"
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert keys.name_of(FIRST.encode(), 1.0) is None
    assert keys.name_of(SECOND.encode(), 1.0) == "site-a"


def test_new_keys_are_random_and_their_lines_are_taken(tmp_path: Path) -> None:
    made = [new_key("site-a") for _ in range(50)]
    assert len({key for key, _ in made}) == 50
    path = tmp_path / "keys"
    path.write_text("\n".join(line for _, line in made))
    keys = ApiKeys(path)
    for key, text in made:
        assert key.startswith("rfgw_")
        assert len(key) >= len("rfgw_") + 43  # base64 of 256 bits
        assert key not in text
        assert keys.name_of(key.encode(), 0.0) == "site-a"


@pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 33, "ä", "a:b", "a\n"])
def test_a_key_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="must be a letter"):
        new_key(name)


def test_the_keeper_of_keys_shows_none(file: Path) -> None:
    keys = ApiKeys(file)
    keys.name_of(FIRST.encode(), 0.0)
    assert "k3y" not in f"{keys!r}{vars(keys)!r}"

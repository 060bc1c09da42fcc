"""Sealed cookies: who can read them, for how long, and what becomes of any other text."""

import random
import string

import pytest

from app.login.sealed_cookies import MAX_VALUE, CookieSeal, Unsealed, new_cookie_key

NAME, NOW, LIFETIME = "__Host-rfgw_user", 1_800_000_000.0, 600.0
ONE, TWO = bytes(range(32)), bytes(range(1, 33))
TEXTS = ("t0ken", "s3cret&=;,é")


def sealed(*keys: bytes, now: float = NOW) -> str:
    return CookieSeal(keys or (ONE,)).seal(NAME, TEXTS, now)


def opened(value: str, *keys: bytes, name: str = NAME, now: float = NOW) -> Unsealed | None:
    return CookieSeal(keys or (ONE,)).open(name, value, now, LIFETIME)


def test_what_is_sealed_is_opened_with_the_time_of_its_sealing() -> None:
    assert opened(sealed()) == (NOW, TEXTS)
    assert opened(CookieSeal([ONE]).seal(NAME, [], NOW)) == (NOW, ())


def test_a_value_shows_nothing_and_is_never_the_same_twice() -> None:
    values = {sealed() for _ in range(100)}
    assert len(values) == 100
    allowed = set(string.ascii_letters + string.digits + "-_")
    assert all(set(value) <= allowed and "t0ken" not in value for value in values)


def test_a_new_key_seals_and_an_old_one_still_opens() -> None:
    assert opened(sealed(ONE), TWO, ONE) == (NOW, TEXTS)
    assert opened(sealed(TWO, ONE), ONE) is None
    assert opened(sealed(TWO, ONE), TWO) == (NOW, TEXTS)
    assert opened(sealed(ONE), TWO) is None


def test_a_value_under_another_name_is_nobodys() -> None:
    assert opened(sealed(), name="rfgw_user") is None


@pytest.mark.parametrize(
    ("later", "is_good"),
    [(0, True), (599.9, True), (600, False), (1e9, False), (-60, True), (-60.1, False)],
)
def test_a_value_is_good_for_its_lifetime(later: float, is_good: bool) -> None:
    assert (opened(sealed(), now=NOW + later) is not None) == is_good


def test_what_browsers_would_not_keep_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="too long"):
        CookieSeal([ONE]).seal(NAME, ["x" * MAX_VALUE], NOW)


def test_no_other_text_is_ever_opened() -> None:
    """100,000 values: bytes exchanged, cut, grown, swapped, written otherwise."""
    chance, seal = random.Random(5849), CookieSeal([ONE, TWO])
    good = [seal.seal(NAME, TEXTS, NOW), sealed(TWO)]
    alphabet = string.ascii_letters + string.digits + "-_=+/.~% \t\x00é€"
    for number in range(100_000):
        value = list(chance.choice(good))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(value) + 1)
            match chance.randrange(5):
                case 0:
                    value[place:] = []
                case 1:
                    value[place:place] = chance.choices(alphabet, k=chance.randint(1, 8))
                case 2:
                    value[place : place + 1] = chance.choice(alphabet)
                case 3:
                    value[:place] = []
                case _:
                    value[place:] = chance.choice(good)[place:] + "A" * chance.randint(0, 2)
        text = "".join(value)
        if text not in good:
            assert seal.open(NAME, text, NOW, LIFETIME) is None, (number, text)


@pytest.mark.parametrize("text", ["", "A", "AQ", "=" * 4, "A" * 4001, "AQ" + "A" * 60])
def test_texts_without_anything_sealed_are_nothing(text: str) -> None:
    assert opened(text) is None


def test_the_last_bits_of_a_text_have_one_spelling() -> None:
    values = [CookieSeal([ONE]).seal(NAME, ["x" * more], NOW) for more in range(3)]
    value = next(value for value in values if len(value) % 4)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    other = alphabet[alphabet.index(value[-1]) ^ 1]
    assert opened(value) is not None
    assert opened(value[:-1] + other) is None


def test_new_keys_differ() -> None:
    assert len({new_cookie_key() for _ in range(100)}) == 100

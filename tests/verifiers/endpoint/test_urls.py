"""Questions go to the path for chats; an address with a key in it is refused and not shown."""

import pytest

from veriloop.verifiers.endpoint.urls import check_url, is_loopback


@pytest.mark.parametrize(
    ("url", "goes_to"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
        ("https://host/v1/", "https://host/v1/chat/completions"),
        ("https://host", "https://host/chat/completions"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
        ("https://host/v1?api-version=2", "https://host/v1/chat/completions?api-version=2"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_questions_go_to_the_path_for_chats(url, goes_to):
    assert check_url(url) == goes_to


@pytest.mark.parametrize(
    "url", ["localhost", "ftp://host", "file:///etc/passwd", "", None, 3, "http://", "http:///v1", "http://host:port", "http://ho st/v1", "http://a..b", "http://" + "a" * 70]
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match=r"Endpoint\.url must (begin with|name a host)"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hidden@host/v1",
        "https://hidden@host/v1",
        "https://host/v1?key=hidden",
        "https://host/v1?api_key=hidden",
        "https://host/v1?api-key=hidden",
        "https://host/v1?apikey=hidden",
        "https://host/v1?access_token=hidden",
    ],
)
def test_a_key_in_the_address_is_refused_and_not_shown(url):
    with pytest.raises(ValueError, match="holds a password or a key") as caught:
        check_url(url)
    assert "hidden" not in str(caught.value)


def test_this_machine_is_known_by_name_and_by_number():
    here = ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]:80"]
    there = ["http://localhost.evil.com", "http://10.0.0.1", "http://host", "http://0.0.0.0"]
    assert all(map(is_loopback, here)) and not any(map(is_loopback, there))

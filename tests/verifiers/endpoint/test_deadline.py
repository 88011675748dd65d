"""A request has so much time in all, whatever the server sends."""

import httpcore2
import httpx2
import pytest

from veriloop.verifiers.endpoint.deadline import Clock, keep_time


def test_no_step_takes_longer_than_what_is_left():
    clock = Clock()
    clock.start(60.0)
    assert clock.left(5.0) == 5.0 and 0 < clock.left(None) <= 60.0
    clock.start(1e-9)
    with pytest.raises(httpcore2.ReadTimeout, match="the time for the request is over"):
        clock.left(5.0)


def test_a_later_httpx2_without_the_place_for_it_is_an_error_and_no_silence(monkeypatch):
    """Whoever raises the version sees it here."""
    with httpx2.Client() as client:
        keep_time(client)
        with monkeypatch.context() as patch:
            patch.setattr(client, "_transport", object())
            with pytest.raises(AttributeError):
                keep_time(client)

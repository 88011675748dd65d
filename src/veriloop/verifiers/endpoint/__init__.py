"""A language model at a URL as a verifier: its questions, its answers, and what they cost."""

from veriloop.verifiers.endpoint.ratings import read_rating, read_yes_or_no
from veriloop.verifiers.endpoint.verifier import Endpoint

__all__ = ["Endpoint", "read_rating", "read_yes_or_no"]

"""Attacks on the library, in series that can be counted and gone on with."""

"""What lies beside the tests and is no test."""

collect_ignore = ["stranger.py"]

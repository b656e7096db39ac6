"""treadle: a daemon that keeps coding-agent work."""

__version__ = "0.1.0"

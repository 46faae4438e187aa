"""A disk that is full from some size of a file on."""

import contextlib

import pytest

resource = pytest.importorskip("resource")  # Windows has no such limit


@contextlib.contextmanager
def largest_file(size):
    """Let every write beyond ``size`` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

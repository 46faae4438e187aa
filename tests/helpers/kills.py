"""Kill a process at a chosen file operation, to test that nothing is lost at any moment."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OPERATIONS = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree",
    "ctypes.dlsym",  # a rename that Python does not have
}  # fmt: skip


def _is_change(event: str, arguments: tuple) -> bool:
    """Whether an audit event of Python changes files, or is about to."""
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    return event in _OPERATIONS


def _fork(function: Callable[[], object], on_change: Callable[[], None]) -> int:
    """Run a function in a fork of this process, which calls ``on_change`` before each change."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)

        def hook(event: str, arguments: tuple) -> None:
            if _is_change(event, arguments):
                on_change()

        sys.addaudithook(hook)
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def _end(child: int) -> int:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the function failed in the child: exit {status}"
    return status


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a child process: compiled code of many threads cannot be forked later."""
    assert _end(_fork(function, lambda: None)) == 0


def operations_of(function: Callable[[], object]) -> int:
    """Run a function in a child process; return the number of its file operations.

    Operations are those that Python sees, not those within GDAL or HDF5.
    """
    reading, writing = os.pipe()
    child = _fork(function, lambda: os.write(writing, b"."))
    os.close(writing)
    count = 0
    while part := os.read(reading, 65536):
        count += len(part)
    os.close(reading)
    assert _end(child) == 0
    return count


def killed_at(count: int, function: Callable[[], object]) -> bool:
    """Run a function in a child process that is killed before its file operation ``count``.

    Returns
    -------
    bool
        Whether it was killed; False if it ended before.
    """
    seen = 0

    def on_change() -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return _end(_fork(function, on_change)) != 0


def killed_after(seconds: float, function: Callable[[], object]) -> bool:
    """Run a function in a child process that is killed after a time, wherever it is."""
    child = _fork(function, lambda: None)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return _end(child) != 0

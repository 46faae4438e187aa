"""Kill a process at a chosen file operation, to test that nothing is lost at any moment."""

import os
import signal
import sys
from collections.abc import Callable

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OPERATIONS = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree",
    "ctypes.dlsym",  # a rename that Python does not have
}  # fmt: skip


def is_change(event: str, arguments: tuple) -> bool:
    """Whether an audit event of Python changes files, or is about to."""
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    return event in _OPERATIONS


def killed_at(count: int, function: Callable[[], object]) -> bool:
    """Run a function in a child process that is killed before its file operation ``count``.

    Returns
    -------
    bool
        Whether it was killed; False if it ended before. Operations are those that Python sees, not
        those within GDAL or HDF5.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal seen
            if is_change(event, arguments):
                seen += 1
                if seen == count:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            function()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the function failed in the child: exit {status}"
    return status != 0

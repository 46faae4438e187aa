"""Keeps numba's cache of compiled kernels true to the source.

Numba caches a compiled kernel by the time stamp of the file it stands in, and does not see that a
function it calls in another file has changed. So whenever any file of the package has changed, all
cached kernels of the package are dropped and compiled anew. This holds for the cache beside the
source, numba's default; who moves it (NUMBA_CACHE_DIR) empties it after editing.
"""

import contextlib
import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parent
_STAMP = _PACKAGE / "__pycache__" / "kernels.stamp"


def drop_stale_kernels() -> None:
    """Delete cached kernels if any source file has changed since they were compiled."""
    state = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        stat = path.stat()
        state.update(f"{path} {stat.st_mtime_ns} {stat.st_size}\n".encode())
    # Who cannot write the package cannot have edited it.
    with contextlib.suppress(OSError):
        if _STAMP.is_file() and _STAMP.read_text() == state.hexdigest():
            return
        for cached in _PACKAGE.rglob("__pycache__/*.nb[ic]"):
            cached.unlink(missing_ok=True)
        _STAMP.parent.mkdir(exist_ok=True)
        _STAMP.write_text(state.hexdigest())

"""Drop numba's compiled kernels when the source they depend on has changed (development only).

Numba caches a compiled kernel by the time stamp of the file it stands in, and does not see that a
function it calls in another file has changed. So whenever a file has changed that kernels can use,
all cached kernels of the package are dropped and compiled anew. Kernels use files of their own
folder and of the folders above it. This holds for the cache beside the source, numba's default; who
moves it (NUMBA_CACHE_DIR) empties it after editing. The tests and `make demo` call it.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parent
_STAMP = _PACKAGE / "__pycache__" / "kernels.stamp"


def drop_stale_kernels() -> None:
    """Delete cached kernels if a file they can use has changed since they were compiled."""
    state = hashlib.sha256()
    files = sorted(_PACKAGE.rglob("*.py"))
    folders = {path.parent for path in files if b"import njit" in path.read_bytes()}
    folders |= {above for folder in folders for above in folder.parents}
    for path in files:
        if path.parent not in folders:
            continue
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


if __name__ == "__main__":
    drop_stale_kernels()

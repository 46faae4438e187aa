import shutil
import subprocess
import sys
import textwrap

import pytest

from deepcrop import _kernel_cache


@pytest.mark.slow
def test_a_kernel_is_compiled_anew_when_what_it_calls_in_another_file_changes(tmp_path):
    """The trap this module is for, on a package of two files of its own."""
    package = tmp_path / "twofiles"
    package.mkdir()
    shutil.copy(_kernel_cache.__file__, package)
    (package / "__init__.py").write_text(
        "from twofiles._kernel_cache import drop_stale_kernels\ndrop_stale_kernels()\n"
    )
    (package / "outer.py").write_text(
        textwrap.dedent(
            """
            from numba import njit
            from twofiles.inner import value

            @njit(cache=True)
            def outer():
                return value()
            """
        )
    )

    def result(number):
        (package / "inner.py").write_text(
            f"from numba import njit\n\n@njit(cache=True)\ndef value():\n    return {number}\n"
        )
        command = "from twofiles.outer import outer; print(outer())"
        run = subprocess.run(
            [sys.executable, "-c", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout)

    assert [result(1), result(22), result(333)] == [1, 22, 333]
    assert list(package.rglob("*.nbc"))  # it does cache

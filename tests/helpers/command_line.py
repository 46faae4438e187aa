"""Run the command line within the process of the tests, which spares seconds of imports."""

import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from deepcrop import cli


def run(*arguments, cwd=None):
    """Run ``deepcrop`` as a shell would; an exception it does not catch fails the test."""
    words = ["deepcrop", *map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        contextlib.chdir(cwd or "."),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    return subprocess.CompletedProcess(words, status, stdout.getvalue(), stderr.getvalue())

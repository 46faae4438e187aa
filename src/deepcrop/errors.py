"""The errors a user meets: each says what was wrong, what was expected and what to do."""


class DeepCropError(Exception):
    """Something the user gave cannot be used; the message says what, and what to do about it."""


class CubeError(DeepCropError):
    """An observation cube breaks the contract of :mod:`deepcrop.cube.contract`."""


class SpecError(DeepCropError):
    """An ingest specification, or a file it names, cannot be used."""


MALFORMED = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)
"""What Python raises where a file or an answer from outside has another form than expected.

Only where content from outside is taken apart: code of our own that raises one of these is wrong.
"""

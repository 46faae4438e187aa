"""A fixed sample of the fuzz suite; `make fuzz` runs all of it."""

import pytest
from tests.fuzz.harness import fuzz
from tests.fuzz.readers import READERS


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_hostile_input_is_answered_or_refused(reader, tmp_path):
    counts = fuzz(reader, tmp_path, reader.sample)
    assert not counts.failures, "\n\n".join(f"{k}\n{v}" for k, v in counts.failures.items())
    assert counts.inputs >= min(reader.sample, 10)
    assert counts.answered
    assert counts.answered + counts.refused == counts.inputs

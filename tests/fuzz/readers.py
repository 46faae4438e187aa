"""All readers of what comes from outside."""

from tests.fuzz.readers_files import FILE_READERS
from tests.fuzz.readers_web import WEB_READERS

READERS = (*FILE_READERS, *WEB_READERS)

"""A loopback test-bed that speaks the real archives' protocols; `python -m tests.archive`."""

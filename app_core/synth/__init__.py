"""A station on the air, generated: for the demo, the self-test and the tests."""

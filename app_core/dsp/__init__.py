"""Streaming arithmetic: arrays in, arrays out; no thread, process, socket or Redis."""

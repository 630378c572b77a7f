"""Runs that are too long for a benchmark: thousands of transmissions, hours of sound, resumable by seed."""

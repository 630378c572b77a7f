"""PCM in, PCM out: sources, monitors, streams."""

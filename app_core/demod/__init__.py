"""IQ to PCM."""

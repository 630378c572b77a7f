"""Herald's stages: samples flow down this tree, imports flow up it."""

__version__ = "0.1.0"

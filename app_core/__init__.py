"""Herald's stages: samples flow down this tree, imports flow up it."""

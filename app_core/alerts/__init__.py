"""SAME to people: the life of an alert after it was decoded."""

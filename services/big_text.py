"""Capital letters three lines high, for a state that must be read across the room."""

from __future__ import annotations

_GLYPHS = {
    "A": ("▄▀▄", "█▀█", "▀ ▀"), "B": ("█▀▄", "█▀▄", "▀▀ "), "C": ("█▀▀", "█  ", "▀▀▀"), "D": ("█▀▄", "█ █", "▀▀ "),
    "E": ("█▀▀", "█▀ ", "▀▀▀"), "F": ("█▀▀", "█▀ ", "▀  "), "G": ("█▀▀", "█ █", "▀▀▀"), "H": ("█ █", "█▀█", "▀ ▀"),
    "I": ("█", "█", "▀"), "J": ("  █", "▄ █", "▀▀▀"), "K": ("█ █", "█▀▄", "▀ ▀"), "L": ("█  ", "█  ", "▀▀▀"),
    "M": ("█▄ ▄█", "█ ▀ █", "▀   ▀"), "N": ("█▄ █", "█ ▀█", "▀  ▀"), "O": ("█▀█", "█ █", "▀▀▀"),
    "P": ("█▀█", "█▀▀", "▀  "), "Q": ("█▀█", "█ █", "▀▀█"), "R": ("█▀█", "█▀▄", "▀ ▀"), "S": ("█▀▀", "▀▀█", "▀▀▀"),
    "T": ("▀█▀", " █ ", " ▀ "), "U": ("█ █", "█ █", "▀▀▀"), "V": ("█ █", "█ █", " ▀ "),
    "W": ("█   █", "█ █ █", " ▀ ▀ "), "X": ("█ █", " █ ", "▀ ▀"), "Y": ("█ █", " █ ", " ▀ "),
    "Z": ("▀▀█", "▄▀ ", "▀▀▀"),
    " ": ("  ", "  ", "  "),
}  # fmt: skip


def big_lines(words: str) -> tuple[str, str, str]:
    """Give three lines that show `words` large; what is not a letter A to Z is a blank."""
    glyphs = [_GLYPHS.get(letter, _GLYPHS[" "]) for letter in words.upper()]
    top, middle, bottom = (" ".join(glyph[line] for glyph in glyphs) for line in range(3))
    return top, middle, bottom

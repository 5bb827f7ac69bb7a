"""How things are said: words for events, tables, lines that fit the terminal."""

"""board.toml: what is wired to what. Others import `boards`, which finds and loads one, and
`model`, which says what a board is and what /board.json holds. Inside, `toml_keys` describes
each key, and `reader` checks a file by that.
"""

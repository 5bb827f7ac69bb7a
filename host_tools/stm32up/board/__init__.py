"""board.toml, the description of a board. Others import `boards`, which finds and loads one, and
`model`, which defines a board and /board.json. Internally, `toml_keys` describes each key, and
`reader` checks a file with it.
"""

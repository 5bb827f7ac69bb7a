"""board.toml, the description of a board. Others import `boards`, which finds and loads one,
`template`, which makes a new one,
`model`, which defines a board and /board.json, and `toml_file`, which reads any TOML file.
Internally, `toml_keys` describes each key, and `reader` checks a file with it.
"""

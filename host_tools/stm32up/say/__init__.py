"""How things are said. Others import `words` (what each event is called), `output` (the screen
or JSON) and `wrapping` (lines that fit the terminal). `endings` and `tables` say what a verb
ends with.
"""

"""Output for people. Others import `words` (the text of each event), `output` (screen or JSON),
`several` (the same for several boards) and `wrapping` (lines that fit the terminal). `endings` and
`tables` make the text of results.
"""

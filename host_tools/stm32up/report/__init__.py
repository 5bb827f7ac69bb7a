"""Reports of recorded runs: the forum case with its figures, and its timeline. Others import
`forum`.
"""

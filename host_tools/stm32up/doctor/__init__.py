"""What is wrong with a board: facts, and the rules that turn them into a diagnosis."""

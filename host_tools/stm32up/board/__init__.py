"""board.toml: what is wired to what. Model, reader, and the folders where boards are found."""

"""`s2s generate --serve`: HTTP at a socket, with the model loaded once for all requests."""

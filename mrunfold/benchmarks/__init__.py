"""Tables of quality and speed, each against a peer in the same run."""

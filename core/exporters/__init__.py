"""Files that others can use, each checked against the network it was made of."""

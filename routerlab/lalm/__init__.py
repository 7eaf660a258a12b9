"""Loading an audio language model and running it; the router and the reasoner stand on it."""

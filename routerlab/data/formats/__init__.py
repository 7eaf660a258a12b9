"""Question files of other people and our own: where each keeps what, its rows, its mistakes."""

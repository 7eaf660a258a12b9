"""The HTML page of a run: one file that needs no network, with plots and a browser of questions."""

"""The one command line, ``edgewright``: what the operator does, by hand and without a cluster."""

"""What decides: frozen values in, frozen values out; no I/O, no clock, no randomness, no Kopf."""

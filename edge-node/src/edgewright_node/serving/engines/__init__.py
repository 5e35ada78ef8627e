"""Engines behind one protocol: ``base`` states it, each other module wraps one runtime."""

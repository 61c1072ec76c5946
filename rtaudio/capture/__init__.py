"""Capture in a small process of its own, so that nothing in the parent can stop it."""

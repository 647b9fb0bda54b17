"""Slow and plain codecs, written from the specifications alone: what the compiled ones are compared with."""

"""Readers of delimited text files of prices."""

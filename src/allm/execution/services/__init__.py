"""Calls that answer in one piece, and those made of many of them."""

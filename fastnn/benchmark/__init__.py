"""Measuring: the machine's limits, every kernel's share of them, and other frameworks' speed in the same run."""

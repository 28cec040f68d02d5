"""Offline stages: pure functions of one record, one file each."""

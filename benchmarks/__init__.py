"""Measurements that documents and reports quote; each module is a command."""

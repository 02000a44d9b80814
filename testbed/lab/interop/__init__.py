"""Rows: each shows one requirement of docs/requirements.md, by a test that ran. `rows.py` says how to write one."""

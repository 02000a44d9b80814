"""Kernel-peer tests: a Linux client and a Linux server around the HAG, judged from outside."""

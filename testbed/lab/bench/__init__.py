"""`make bench`: every benchmark side by side with what it is compared with."""

"""Networks and plain filters held against the truth, on sets of pictures and clips."""

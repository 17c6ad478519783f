"""Data sets: their readers, downloads, sampling, splits and judgements."""

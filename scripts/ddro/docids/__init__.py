"""Docids: tokens, schemes, quantisation, title and URL, the text format, the trie."""

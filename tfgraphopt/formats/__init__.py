"""Model formats in and out."""

"""Reader of price files: bytes to cells (formats, text, excel), dates and numbers, then columns and bars (reader)."""

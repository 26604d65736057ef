"""The sections of the page, one module each: from excerpts of the marts to blocks."""

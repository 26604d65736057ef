"""The lakehouse keeps itself loaded, and tells when it is not."""

"""Base of the similarity models: candidates, the ranked table, explanation."""

"""What the similarity models share: candidates, the ranked table, explanation."""

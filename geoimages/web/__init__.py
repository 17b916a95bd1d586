"""The page: classes, matches, map and votes in a browser, for who opens no shell."""

"""`python -m demo` shows what this package does."""

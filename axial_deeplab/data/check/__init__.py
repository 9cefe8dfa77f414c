"""Look through a labeled data set: what is wrong with it, and what is in it."""

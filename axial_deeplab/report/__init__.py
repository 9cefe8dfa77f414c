"""A page that shows where a network goes wrong: one HTML file with its pictures inside, for any browser, without network."""

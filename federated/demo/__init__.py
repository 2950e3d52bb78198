"""The demo: the whole loop once round on real handwriting, shown as a table and a report."""

"""Formats records for people: terminal, Markdown, HTML, tables, plots."""

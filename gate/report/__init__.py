"""Records for readers: terminal, Markdown, HTML, tables, plots."""

"""Reports as files: Markdown pages with PNG pictures, and the table in the README; from the records alone."""

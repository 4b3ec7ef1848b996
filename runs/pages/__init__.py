"""Self-contained HTML pages: templates, styles and scripts, and what puts data into them."""

"""What the pages are made of: templates, styles and scripts."""

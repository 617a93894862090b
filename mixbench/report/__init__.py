"""Tables into a page, figures and other formats.  Imports no torch."""

"""Tables into a page, figures and other forms.  Imports no torch."""

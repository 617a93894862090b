"""Command line: one file per verb (`mixbench VERB`); a verb parses its options, calls one function, prints."""

"""The verbs: one file each; a verb parses, calls one function, prints."""

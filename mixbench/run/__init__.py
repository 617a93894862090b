"""The run folder: records, who may write them, what is damaged."""

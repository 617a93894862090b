"""Datasets: finding, fetching and checking their files, decoding images, and making batches on the device."""

"""What is measured of a model: complexity, throughput, accuracy.  Each is a module."""

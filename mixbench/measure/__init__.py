"""The measurements of a model: complexity, throughput, accuracy."""

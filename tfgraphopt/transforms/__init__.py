"""Generic passes over TensorFlow ops."""

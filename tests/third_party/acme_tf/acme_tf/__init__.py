"""Soft-capped logits: ``AcmeSoftCap(x) = cap * tanh(x / cap)``, for TensorFlow and for TensorRT engines."""

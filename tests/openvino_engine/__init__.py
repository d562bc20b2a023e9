"""OpenVINO as an engine: mappings against numpy, engines inside TensorFlow against TensorFlow."""

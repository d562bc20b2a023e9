"""The main job on pretrained networks and real input: ``python -m demo``."""

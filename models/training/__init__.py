"""Training of the two networks, from labelled images to a folder that diffusers and this project read.

`dit` and `autoencoder` are the two loops. Knows nothing of serving. Imported by the commands and `models.demo`.
"""

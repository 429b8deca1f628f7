"""A folder of diffusers' layout, component by component: transformer, scheduler and autoencoder, configs and weights.

`diffusers_folder` finds the components; the other modules read one kind of file each. Knows no file in the original
names but an autoencoder's.
"""

"""The models: architecture, samplers, checkpoints, autoencoder, training. Knows no HTTP, no queue, no process.

    pipeline      a checkpoint ready to make images: begin, step, preview, decode
    dit, vae      the two networks; registry has the published sizes, labels the names of classes, fused_decoder the
                  autoencoder's decoder for a card
    sampling/     from noise to latents, and latents into pixels
    checkpoints/  files and hub repositories into weights
    training/     datasets, losses and the two training loops
    evaluation/   how good images are
    demo/         the two models that ship with the project

Imports `kernels`, and nothing of `service`. `dit_serve.load_pipeline` is the way in.
"""

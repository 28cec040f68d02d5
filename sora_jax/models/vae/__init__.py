"""The video autoencoder."""

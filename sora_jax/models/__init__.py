"""Networks: no diffusion, no meshes."""

"""The learned parts: the priors R_θ(x, τ), the unrolled posterior denoiser, its weights and its precision."""

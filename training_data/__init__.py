"""From any videos to training clips: shots, filters, poses, captions, a manifest, latents, and what reads them."""

"""From folders to a packed set: sources, downloads, images, packing, the packed data set. It imports system and nothing else."""

"""Use cases of images, one file per verb."""

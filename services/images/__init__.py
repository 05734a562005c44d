"""The use cases of images, one file per verb."""

"""What the use cases share: finding images by name, describing, filtering, reading and publishing them."""

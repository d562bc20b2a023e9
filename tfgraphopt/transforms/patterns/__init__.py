"""The rules that come with the framework, one file a family; ``catalogue`` lists them."""

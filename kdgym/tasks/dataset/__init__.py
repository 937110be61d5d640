"""A task made from a data set: a file, a folder of files, or one in the cache of Hugging Face's `datasets`."""

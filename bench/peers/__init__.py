"""The same job done the usual ways, each as its own documentation would have it."""

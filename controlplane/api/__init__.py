"""The Kubernetes protocol over the resource store: what kubectl, kn and our own command line speak."""

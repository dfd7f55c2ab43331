"""Bucket stores through fsspec: S3, Google Cloud Storage and Azure."""

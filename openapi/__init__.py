"""What makes the OpenAPI documents and holds them true. Run by make, never shipped."""

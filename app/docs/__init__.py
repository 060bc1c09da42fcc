"""What people and generators read: OpenAPI documents, Swagger UI, problem pages, the demo page."""

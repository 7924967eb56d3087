"""The HTTP edge: schemas, handlers, middleware, pages."""

"""The interface of the server as an OpenAPI 3.1 document, and as a page that is made from it.

Litestar would make one from the handlers, but what we read of a request ourselves, its headers and its body, would not
stand in it. So the routes are described here, with the Structs that the routes read bodies with; that none is missing,
and that real answers are as described, tests see to.

Source: the OpenAPI Specification 3.1.1 (https://spec.openapis.org/oas/v3.1.1.html).
"""

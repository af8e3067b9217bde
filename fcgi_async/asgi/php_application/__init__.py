"""A folder of PHP scripts and static files as an ASGI application.

A request goes through these modules in this order: `target`, `request_head` and `hosts` read what it asks for, `rules`
and `lookup` find what answers it, `request_spool` reads the body, `script_params` and `relay` run PHP, and
`answer_head`, `response_spool` and `accel` pass on the answer; files go through `conditions`, `ranges` and `files`.
"""

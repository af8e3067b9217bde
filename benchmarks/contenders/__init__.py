"""Each way to run PHP, as a small script that measures itself.

A contender is given its `Setting` as JSON, warms up, does its jobs, checks every answer, closes its connections (a kept
one pins a PHP worker) and prints one line of JSON. The foreign ones know nothing of fcgi_async, and ours use what it
exports and nothing else, so that another state of it can run them too.
"""

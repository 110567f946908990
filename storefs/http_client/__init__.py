"""HTTP for binary caches, channels and fetchers: many small questions at once, and large transfers one stream each.

Of our own because of what caches need: a closure's thousand narinfos within a second of CPU-free waiting, downloads
that feed a synchronous pipeline (decompress, hash, store) in a worker thread, and a start-up that does not import an
event loop. `client.py` is the door; everything else is behind it.

    client      HttpClient: get, head, put, stream (resuming), many; retries, redirects, netrc, proxies
    connection  one non-blocking socket, through a proxy or TLS if need be
    http1 http2 protocols, sans-I/O
    messages    requests, exchanges, URLs, errors
"""

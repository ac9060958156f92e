"""Python httpx-sse: prints every event's id and data until it has seen the last one.

Usage: python httpx_client.py URL LAST_DATA. The library leaves reconnecting to its caller: this one
comes back with Last-Event-ID after the stream's retry time, as the library's own documents show.
"""

import sys
import time

import httpx
from httpx_sse import connect_sse

url, last = sys.argv[1:]
cursor, retry = "", 0.1

with httpx.Client(timeout=httpx.Timeout(5.0, read=40.0)) as client:
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                source.response.raise_for_status()
                print("open", flush=True)
                for event in source.iter_sse():
                    cursor = event.id or cursor
                    retry = event.retry / 1000 if event.retry else retry
                    if event.event == "tidewire.gap":
                        print("gap", event.data, flush=True)
                    elif event.event == "message" and event.data:
                        print("event", event.id, event.data, flush=True)
                        if event.data == last:
                            sys.exit(0)
        except httpx.TransportError:
            pass  # The hub is away, or its stream was cut: come back.
        time.sleep(retry)

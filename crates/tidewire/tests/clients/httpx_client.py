"""Python httpx-sse, or sseclient-py over httpx: prints every event's id and data until it has seen the
last one.

Usage: python httpx_client.py URL LAST_DATA [httpx-sse|sseclient-py]. The libraries leave reconnecting to
their caller: this one comes back with Last-Event-ID after the stream's retry time, as their own documents
show, and prints how each stream ended.
"""

import sys
import time

import httpx
import httpx_sse
import sseclient

url, last, *library = sys.argv[1:]
cursor, retry = "", 0.1


def events(response):
    if library == ["sseclient-py"]:
        return sseclient.SSEClient(response.iter_bytes()).events()
    return httpx_sse.EventSource(response).iter_sse()


with httpx.Client(timeout=httpx.Timeout(5.0, read=40.0)) as client:
    while True:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if cursor:
            headers["Last-Event-ID"] = cursor
        try:
            with client.stream("GET", url, headers=headers) as response:
                response.raise_for_status()
                print("open", flush=True)
                for event in events(response):
                    cursor = event.id or cursor
                    retry = int(event.retry) / 1000 if event.retry else retry
                    if event.event == "tidewire.gap":
                        print("gap", event.data, flush=True)
                    elif event.event == "message" and event.data:
                        print("event", event.id, event.data, flush=True)
                        if event.data == last:
                            sys.exit(0)
            print("ended", flush=True)
        except httpx.HTTPError:
            print("failed", flush=True)  # The hub is away, refuses, or cut its stream: come back.
        time.sleep(retry)

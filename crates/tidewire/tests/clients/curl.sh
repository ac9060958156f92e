#!/usr/bin/env bash
# curl by hand: prints every event's id and data until it has seen the last one, and comes back with
# -H 'Last-Event-ID: …' when the stream ends, which it prints too. Usage: curl.sh URL LAST_DATA [CURL_OPTION…]
set -uo pipefail
url=$1 last=$2 cursor=
shift 2

read_events() {
  local id= data= type=
  while IFS= read -r line; do
    case $line in
      'id: '*) id=${line#id: } ;;
      'event: '*) type=${line#event: } ;;
      'data: '*) data=${line#data: } ;;
      '')
        [ -n "$id" ] && cursor=$id
        case $type in
          tidewire.hello) echo open ;;
          tidewire.gap) echo "gap $data" ;;
          '') echo "event $id $data"; [ "$data" = "$last" ] && exit 0 ;;
        esac
        id= data= type= ;;
    esac
  done
}

while :; do
  # Reads in this shell, not in a pipe's, so that the cursor is kept.
  read_events < <(exec curl -sfN "$@" ${cursor:+-H "Last-Event-ID: $cursor"} "$url")
  wait $! && echo ended || echo failed
  sleep 0.1
done

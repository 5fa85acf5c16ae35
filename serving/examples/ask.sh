#!/bin/sh
# Asks a served model about an image: sh ask.sh URL MODEL IMAGE QUESTION; the key is read from OPENAI_API_KEY.
# The body goes through a file, as it may be longer than a command line can be. QUESTION must hold no " and no \.
set -eu
url=$1 model=$2 image=$3 question=$4
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
  printf '{"model": "%s", "max_tokens": 32, "temperature": 0, "messages": [{"role": "user", "content": [' "$model"
  printf '{"type": "image_url", "image_url": {"url": "data:image/png;base64,%s"}},' "$(base64 < "$image" | tr -d '\n')"
  printf '{"type": "text", "text": "%s"}]}]}' "$question"
} > "$body"
# The key goes through a pipe: everybody on this machine can read a command line.
printf 'Authorization: Bearer %s' "${OPENAI_API_KEY:-none}" |
  curl --silent --show-error "$url/chat/completions" --header @- --header 'Content-Type: application/json' \
    --data "@$body"
